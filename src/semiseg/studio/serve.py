"""``semiseg studio``: open a dataset, or make one of a pile of scans, and serve it to a browser."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import locate
from semiseg.dataset.description import FILE, read_description
from semiseg.dataset.ledger import STUDIO
from semiseg.dataset.problem import raise_if_any
from semiseg.errors import UsageError, missing_extra
from semiseg.machine.claim import held
from semiseg.machine.files import read_json, write_json
from semiseg.studio.places import SOURCE

log = logging.getLogger("semiseg.studio")

PORT = 8765
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """Where a studio is served.

    Attributes:
        url: to open, with the token where one is needed.
        dataset: the folder.
        port: that was taken.
    """

    url: str
    dataset: Path
    port: int


def studio(
    dataset: str | Path,
    *,
    port: int = PORT,
    host: str = "127.0.0.1",
    browser: bool = True,
    token: str | None = None,
    blind: bool = False,
    classes: Sequence[str] = (),
    series: str | Path | None = None,
    ready: Callable[[Address], None] | None = None,
) -> None:
    """Serve a dataset to a browser tab to label, train and correct in. Returns when the server is stopped.

    Nothing is sent anywhere: pages and scripts come from this machine. Without ``host`` only this machine can
    ask. Trainings and predictions are processes of their own, which go on when the server ends.

    Args:
        dataset: a dataset folder, a name or number under ``SEMISEG_DATA``; or a folder of scans, of which a
            dataset is made beside it.
        port: to listen on; 0 takes a free one. Where it is taken, the next free one.
        host: an address to listen on; any but this machine's own needs a token, and there is no TLS.
        browser: open it in the user's browser.
        token: that every request must carry; made up where ``host`` needs one.
        blind: hide the labels of test cases, and which run made what in a review.
        classes: names of the classes to draw, for a pile of scans without masks.
        series: the folder or zip of DICOM series that the dataset was made of, where predictions shall be
            delivered as DICOM; one beside the dataset is found without.
        ready: called with the address once the server answers.

    Raises:
        UsageError: no such folder, another studio on it, no free port, series of other scans, or the extra
            ``studio`` is missing.
        DataError: a dataset that cannot be opened, or no scan in the folder.
    """
    uvicorn = _uvicorn()
    root = open_or_adopt(dataset, classes)
    token = token_for(host, token)
    from semiseg.studio.app import make_app
    from semiseg.studio.desk import Desk

    with held(root / STUDIO, "DATASET"), _listening(host, port) as sock:
        taken = int(sock.getsockname()[1])
        desk = Desk(root, blind=blind)
        if series is not None:
            desk.series.name(Path(series).expanduser())
        app = make_app(desk, host=host, port=taken, token=token)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{taken}/" + (f"?token={token}" if token else "")
        address = Address(url, root, taken)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        )
        told = threading.Thread(target=_tell, args=(server, address, browser, ready), daemon=True)
        told.start()
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[sock])


def token_for(host: str, token: str | None) -> str | None:
    """The token that requests must carry: the given one, a new one where others can ask, or none."""
    if host in LOOPBACK:
        return token
    log.warning("%s: everyone who has the token can read the scans, and there is no TLS", host)
    return token or secrets.token_urlsafe(24)


def open_or_adopt(dataset: str | Path, classes: Sequence[str] = ()) -> Path:
    """The dataset folder, made of a pile of scans where it is one; the one that was made of it before.

    Raises:
        UsageError: no such folder, or ``classes`` for a dataset that has labels.
        DataError: there is no scan in it.
    """
    path = Path(str(dataset)).expanduser()
    if not path.is_dir() or (path / FILE).is_file():
        root = locate(dataset)
    else:
        root = made_before(path) or _adopt(path)
    if classes:
        name_classes(root, classes)
    return root


def made_before(pile: Path) -> Path | None:
    """The dataset that was made of this pile, if it is still beside it."""
    for folder in sorted(pile.resolve().parent.glob("Dataset*")):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            if read_json(folder / STUDIO / SOURCE)["source"] == str(pile.resolve()):
                return folder
    return None


def name_classes(root: Path, classes: Sequence[str]) -> None:
    """Declare the classes of a dataset in which nothing is labeled yet.

    Raises:
        UsageError: it has labels, and other classes; or names that are no classes.
        DataError: its ``dataset.json`` is broken.
    """
    odd = [name for name in classes if classes.count(name) > 1 or name.casefold() in ("background", "ignore")]
    if odd or not all(name.isprintable() for name in classes):
        raise UsageError(
            f"--classes {','.join(classes)}: "
            + (f"{odd[0]!r} is not a class of its own" if odd else "odd letters"),
            hint="name each structure once, without the background: --classes liver,tumor",
            code="CLASSES",
        )
    raise_if_any(read_description(root)[1], str(root))
    content = read_json(root / FILE)
    wanted = {"background": 0, **{name: value for value, name in enumerate(classes, start=1)}}
    if content.get("labels") == wanted:
        return
    if any((root / "labelsTr").glob(f"*{content.get('file_ending', '')}")):
        raise UsageError(
            f"{root} has labels of the classes {', '.join(content.get('labels', {}))}",
            hint=f"change names in {root / FILE}; --classes is for scans without any label",
            code="HAS_CLASSES",
        )
    write_json(root / FILE, {**content, "labels": wanted})


def _adopt(pile: Path) -> Path:
    from semiseg.dataset.adopt import adopt

    made = adopt(pile, link=True).folder
    write_json(made / STUDIO / SOURCE, {"source": str(pile.resolve())})
    log.info("%s: a dataset was made of the scans in %s", made, pile)
    return made


def _uvicorn() -> Any:
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise missing_extra("studio", error.name or "fastapi", "the studio") from None
    return uvicorn


@contextlib.contextmanager
def _listening(host: str, port: int) -> Any:
    """A socket that listens, on the first free port from the wanted one on."""
    family, reason = socket.AF_INET6 if ":" in host else socket.AF_INET, "there is no such port"
    for candidate in [port] if port == 0 else range(port, min(port + 20, 65536)):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, candidate))
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
            continue
        with sock:
            yield sock
        return
    raise UsageError(
        f"cannot listen on {host}:{port}: {reason}", hint="choose another with --port", code="NO_PORT"
    )


def _tell(server: Any, address: Address, browser: bool, ready: Callable[[Address], None] | None) -> None:
    waiting = threading.Event()
    while not server.started and not server.should_exit:
        waiting.wait(0.05)
    if server.should_exit:
        return
    if ready is not None:
        ready(address)
    if browser:
        webbrowser.open(address.url)
