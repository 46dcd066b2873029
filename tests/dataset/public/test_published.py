"""Published lists: unchanged since they were read, and found again however a list file is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semiseg.dataset import public
from semiseg.dataset.adopt.name_lists import read_list
from semiseg.dataset.public.published import FOLDER, find_split, hash_of, lists, splits
from semiseg.errors import DataError, UsageError

ALL = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", ALL)
def test_lists_have_their_hash(name: str) -> None:
    assert {each: hash_of(one.ids) for each, one in lists(name).items()} == {
        each: one.sha256 for each, one in lists(name).items()
    }
    assert splits(name)


HASHES = {
    ("la", "train"): (80, "645317acc681cb1751ce58a5772aa2c2c3d84999fd8fd3da379bb0421c0b2604"),
    ("la", "test"): (20, "db7fc3829aabc11e0d42c9312ca2e60537732c298eafb27dadf9c47fe11ba66b"),
    ("acdc", "train"): (140, "0f55f96eda8c8f2666c7b711d9d9fcc5fe7b1510fbe01dcb2456725f3b4d44c0"),
    ("acdc", "val"): (20, "2ea41e22bca8d4ef671764962f5321f5477319e2116526e0ef682279098bf320"),
    ("acdc", "test"): (40, "86aca78a039e83891426ea2ca07f256f36bd80b558a7532fa514e1561c8e04ff"),
    ("brats2019", "train"): (250, "eebe12dffb7f6bfee76b855f55150b8b8a28d64346d6f3ae864950b2a012d03c"),
    ("brats2019", "val"): (25, "c2be52c584cf6b4294f1556f3e26ba100827ad83130bf0c523544ecd7f46c18f"),
    ("brats2019", "test"): (60, "3ac76c8f71ac6db01937431bc69d24e46003af7f597e1c964c3c07b3a9ba2746"),
    ("pancreas-ct", "mcnet_train"): (62, "0991b24e0f72e9830738abff0f77b0743c1ce118c40f4bbe48b013fc8fe1ed06"),
    ("pancreas-ct", "coranet_test"): (18, "2df769cdf773d8d6f75a2940710f66ca7a8aa7ea78d596e38974ca14a4060e5d"),
    ("amos", "labeled_20p"): (38, "c67461c482c1edebb42f9504c6ecaec70d2676e9d73696685c7322e47fe6a0f0"),
    ("btcv", "train"): (20, "be9f1d10b36f196a4179d6bae31e7d9ada5972b8a0bf295b8b7453823bd0d07f"),
    ("promise12", "test"): (10, "8008c27760e7b022e874a3ed65d7550ced969a07e0b902b1bdab8c13cbaf05e4"),
    ("msd", "train"): (387, "0467f015b338fbe5153f73702e15612c462beff4020eec4fc0d4c710269baa52"),
    ("isic", "id50"): (50, "54eb08e3c14d9368e9dfdbd8833abd0483746b046464a93d5cb238ebfe10bddc"),
}


@pytest.mark.parametrize(("name", "each"), HASHES)
def test_lists_are_those_that_were_read(name: str, each: str) -> None:
    one = lists(name)[each]
    assert (len(one.ids), one.sha256) == HASHES[name, each]


def test_all_lists_equal_the_shared_ones(shared_data: Path) -> None:
    path = shared_data.parent / "published_splits.json"
    if not path.is_file():
        pytest.skip("no published_splits.json here")
    given = json.loads(path.read_text())
    wanted = {
        one["sha256_of_joined_by_newline"]
        for group in given.values()
        for one in group.values()
        if isinstance(one, dict) and "ids" in one
    }
    ours = {one.sha256 for name in ALL for one in lists(name).values()}
    assert len(wanted) > 40
    assert wanted <= ours


def test_every_split_belongs_to_a_data_set_and_the_usual_one_exists() -> None:
    known = public.known()
    assert set(ALL) <= set(known)
    for name, module in known.items():
        assert module.ABOUT.split in {*splits(name), "none"}


HOSTILE = {
    "unix": b"a_1\nb_2\nc_3\n",
    "windows": b"a_1\r\nb_2\r\nc_3\r\n",
    "old mac": b"a_1\rb_2\rc_3",
    "byte order mark": b"\xef\xbb\xbfa_1\nb_2\nc_3",
    "endings": b"a_1.h5\nb_2.nii.gz\nc_3.npy.h5\n",
    "text after a comma": b"a_1,0.5,x\nb_2,\nc_3, y",
    "blanks and empty lines": b"  a_1  \n\n\tb_2\t\n \nc_3   ",
    "folders": b"data/a_1.h5\nC:\\x\\b_2.h5\n./c_3/\n",
}


@pytest.mark.parametrize("form", HOSTILE)
def test_list_files_as_people_have_them(tmp_path: Path, form: str) -> None:
    path = tmp_path / "train.list"
    path.write_bytes(HOSTILE[form])
    assert read_list(path) == ("a_1", "b_2", "c_3")


@pytest.mark.parametrize("content", [b"a\nb\na\n", b"a\nA.h5\n", b"\xff\xfe\x00a\xd8"])
def test_lists_that_cannot_be_meant(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.list"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_list(path)
    assert caught.value.code == "BAD_LIST"


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"ua_mt.*ua-mt"):
        find_split("la", "ua_mt")
