"""``semiseg studio``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output

if TYPE_CHECKING:
    from semiseg.studio.serve import Address

EXAMPLES = (
    "semiseg studio scans --classes anterior,posterior",
    "semiseg studio Dataset104_Heart --port 9000 --no-browser",
)


def run(
    out: Output,
    dataset: Annotated[
        str,
        argument("DATASET|SCANS", "A dataset, or a folder of scans to make one of."),
    ],
    port: Annotated[int, flag("--port N", "Port to serve on; 0 takes a free one.", min=0, max=65535)] = 8765,
    host: Annotated[
        str,
        flag(
            "--host ADDRESS",
            "Address to listen on; others than this machine's need --token, and have no TLS.",
        ),
    ] = "127.0.0.1",
    browser: Annotated[bool, flag("--browser/--no-browser", "Open the page.")] = True,
    token: Annotated[str | None, flag("--token TEXT", "Token that every request must carry.")] = None,
    blind: Annotated[bool, flag("--blind", "Hide the labels of test cases.")] = False,
    classes: Annotated[
        str, flag("--classes NAMES", "Classes to draw in scans without masks, such as liver,tumor.")
    ] = "",
    series: Annotated[
        Path | None,
        flag(
            "--series FOLDER", "DICOM series that the scans were made of, if they are not beside the dataset."
        ),
    ] = None,
) -> None:
    """See scans, label, train and correct in a browser tab that this machine serves.

    Trainings and predictions continue when the server or the browser ends. Ctrl-C ends the server.
    """
    from semiseg.studio.serve import studio

    studio(
        dataset,
        port=port,
        host=host,
        browser=browser and not out.json,
        token=token,
        blind=blind,
        classes=options.names_in(classes),
        series=series,
        ready=lambda address: _tell(out, address),
    )


def _tell(out: Output, address: Address) -> None:
    told = {"url": address.url, "dataset": address.dataset, "port": address.port}
    out.result(
        told,
        f"studio of {shlex.quote(str(address.dataset))} at {address.url}\n"
        "Ctrl-C ends the server; running jobs continue",
    )
    out.flush()
