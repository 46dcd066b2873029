"""What a method's docstring says is true. A new file in ``semiseg/methods`` is found and checked here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack, get_origin, get_type_hints

import pytest
import torch
from torch import nn

from semiseg import methods
from semiseg.core import Method
from semiseg.errors import UsageError
from semiseg.methods import _bases, bcp, cross_teaching, mean_teacher
from semiseg.methods._catalog import NUMBERS, when
from semiseg.methods._catalog import read as read_source
from semiseg.methods._facts import Facts, Paper
from semiseg.settings import options as option_values
from tests.methods.tiny import TinyNet, batches, loop_for, make

NAMES = methods.names()
SUPERVISED = 4 * 3


def networks(module: nn.Module) -> set[int]:
    """Whole ones: a further decoder is a network without its encoder."""
    whole = TinyNet.encoder_parts[0]
    return {id(m) for m in module.modules() if isinstance(m, TinyNet) and hasattr(m, whole)}


@contextmanager
def counting(method: Method) -> Iterator[list[float]]:
    """Images times 3 if a gradient is wanted (forward and backward), else 1, of every forward pass.

    Encoder and decoder are half of it each, whether they run together or apart. Nothing is counted where a
    method has decoders of its own.
    """
    work: list[float] = []
    tiny = [m for m in method.modules() if isinstance(m, TinyNet)]

    def counted(
        net: TinyNet, run: Callable[[Any], list[torch.Tensor]]
    ) -> Callable[[Any], list[torch.Tensor]]:
        def half(given: Any) -> list[torch.Tensor]:
            gradient = torch.is_grad_enabled() and any(p.requires_grad for p in net.parameters())
            work.append(len(given[0] if isinstance(given, list) else given) * (1.5 if gradient else 0.5))
            return run(given)

        return half

    if all(hasattr(net, TinyNet.encoder_parts[0]) for net in tiny):
        for net in tiny:
            net.encode, net.decode = counted(net, net.encode), counted(net, net.decode)
    yield work
    for net in tiny:
        vars(net).pop("encode", None), vars(net).pop("decode", None)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_has_the_form(name):
    assert methods.description(name).problems() == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_said_when_it_suits_and_when_not(name):
    phrases = when(name)
    assert all(10 < len(phrases[key]) < 110 and phrases[key][-1] != "." for key in ("use", "avoid"))


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_as_counted(name):
    method, described = make(name, 2, 3), methods.description(name)
    trained: set[int] = set()
    for attribute in method.trainable:
        network = getattr(method, attribute)
        if any(p.requires_grad for p in network.parameters()):
            trained |= networks(network)
    assert (described.facts.networks, described.facts.trained) == (len(networks(method)), len(trained))


@pytest.mark.parametrize("name", NAMES)
def test_views_and_targets_are_as_asked_for(name):
    method, described = make(name, 2, 3), methods.description(name)
    assert described.facts.views == tuple(method.views)
    assert set(method.targets) <= set(described.targets)


@pytest.mark.parametrize("name", NAMES)
def test_work_is_as_measured(name):
    method, described = make(name, 2, 3), methods.description(name)
    # Without unlabeled scans the whole batch is labeled. The last of two iterations: the last stage.
    half = 2 * method.samples_per_image
    unlabeled = half * method.unlabeled_per_image
    loop = loop_for(method, batches(2, 3, labeled=half if method.views else 4, unlabeled=unlabeled), 2)
    loop.iterate_once()
    with counting(method) as work:
        loop.iterate_once()
    if not work:
        pytest.skip("its passes are of parts of a network; the work is that of the published parts")
    assert described.facts.work == pytest.approx(sum(work) / SUPERVISED, abs=0.05 + 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_those_of_the_constructor(name):
    declared = option_values.declared(methods.find(name))
    options = {key: option.default for key, option in declared.items()}
    described = {option.name: option.default for option in methods.description(name).options}
    for key, value in described.items():
        if isinstance(value, str) and not isinstance(options.get(key), str):
            described[key] = eval(value, {})  # a default such as 2 / 3 is shown as it is written
    assert described == options


def test_every_type_of_an_option_has_words():
    types = {name for name, kind in vars(option_values).items() if hasattr(kind, "__metadata__")}
    assert types <= set(NUMBERS)
    assert "Share" in types


GOOD = '''
class Twin(Method):
    """Two agree.

    ``L = a`` with b.

    More.

    Args:
        make_net: returns a fresh network.
        weight: of the second term,
            at the end: whole.

    Raises:
        UsageError: never.
    """

    facts = Facts(
        title="Twin",
        family="Adversarial",
        papers=(Paper("Twin", "Doe et al.", "CONF", 2020, "arXiv:2001.00001"),),
        networks=2,
        trained=2,
        beside="a critic",
        views=("weak", "strong"),
        work=2.0,
    )
    targets = ("sdf",)

    def __init__(self, make_net, *, weight: Amount = 0.1):
        self.targets = ("sdf",) if weight else ("sdf_published",)
'''


@pytest.fixture
def described(tmp_path):
    def read(text):
        path = tmp_path / "twin.py"
        path.write_text(text)
        return read_source(path, "twin")

    return read


def test_the_form_is_read(described):
    twin = described(GOOD)
    assert twin.problems() == []
    paper = Paper("Twin", "Doe et al.", "CONF", 2020, "arXiv:2001.00001")
    assert twin.facts == Facts(
        "Twin", "Adversarial", (paper,), 2, 2, "a critic", ("weak", "strong"), work=2.0
    )
    assert twin.facts.paper == "Twin, Doe et al., CONF 2020, arXiv:2001.00001"
    assert twin.facts.counted == "2 (2 trained), with a critic"
    assert twin.facts.memory == 2.5
    assert twin.targets == ("sdf", "sdf_published")
    assert twin.prose == ("More.",)
    (option,) = twin.options
    assert (option.type, option.default) == ("Amount", 0.1)
    assert option.description == "of the second term, at the end: whole."


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Two agree.", "Two agree", "period"),
        ("``L = a``", "L = a", "formula"),
        ("        work=2.0,", "        works=2.0,", "facts = Facts("),
        ("networks=2", "networks=count()", "facts = Facts("),
        ("    facts = ", "    fact = ", "facts = Facts("),
        ("arXiv:2001.00001", "online", "doi:"),
        ("Two agree.", f"Two {'and two ' * 8}agree.", "60 characters"),
        ('family="Adversarial"', 'family="Enemies"', "Adversarial, Views and mixing"),
        ("        weight: of", "        wait: of", "none on weight"),
    ],
)
def test_a_wrong_form_is_named(described, old, new, says):
    assert old in GOOD
    (problem,) = described(GOOD.replace(old, new)).problems()
    assert says in problem


FAMILY = '''
class Family(Method):
    """A family.

    Args:
        weight: of the family.
        decay: of the average.
    """

    def __init__(self, make_net, *, weight: Amount = 0.1, decay: Share = 0.99) -> None:
        super().__init__()
'''


def test_options_that_are_passed_on_are_those_of_the_base(described, tmp_path):
    (tmp_path / "_family.py").write_text(FAMILY)
    text = "from semiseg.methods._family import Family\n" + GOOD.replace("(Method)", "(Family)")
    twin = described(text.replace("weight: Amount = 0.1", "weight: Share = 0.5, **family"))
    told = [(option.name, option.type, option.default, option.description) for option in twin.options]
    assert told == [
        ("weight", "Share", 0.5, "of the second term, at the end: whole."),
        ("decay", "Share", 0.99, "of the average."),
    ]
    alone = described(text)  # without ** it takes its own and no others
    assert [option.name for option in alone.options] == ["weight"]


def test_options_that_are_passed_on_are_checked():
    kind = methods.find("ua_mt")
    assert methods.check_options(kind, {"passes": 2, "weight": 3, "hold_off": 10})["weight"] == 3.0
    with pytest.raises(UsageError, match="Did you mean 'student_view'"):
        methods.check_options(kind, {"student_veiw": "strong"})
    with pytest.raises(UsageError, match=r"weight: input should be.*; student_view: .*'weak' or 'strong'"):
        methods.check_options(kind, {"weight": -1, "student_view": "other"})


def test_a_method_that_a_package_offers_from_one_of_its_modules_is_found(tmp_path, monkeypatch):
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").write_text("from semiseg.methods.cps import CPS as Ours\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert methods.find("their_package:Ours") is methods.find("cps")
    with pytest.raises(UsageError, match="has 0 methods called CPS"):
        methods.find("their_package:CPS")


def test_the_code_of_an_unknown_option_does_not_depend_on_the_method():
    with pytest.raises(UsageError, match="option of method CPS 'wait'") as caught:
        methods.check_options(methods.find("cps"), {"wait": 1})
    assert caught.value.code == "UNKNOWN_OPTION_OF_METHOD"


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_read_as_they_are_declared(name):
    assert methods.description(name).facts == methods.find(name).facts


@pytest.mark.parametrize(
    ("options", "base", "left_out"),
    [
        (_bases.RampedOptions, _bases.Ramped, set()),
        (_bases.TeacherOptions, _bases.Teacher, set()),
        (_bases.TwoOptions, _bases.TwoNetworks, set()),
        (mean_teacher.MeanTeacherOptions, mean_teacher.MeanTeacher, set()),
        (cross_teaching.CrossTeachingOptions, cross_teaching.CrossTeaching, set()),
        (bcp.BCPOptions, bcp.BCP, {"dice", "predict_with"}),
    ],
)
def test_options_in_a_signature_are_those_of_the_base(options, base, left_out):
    declared = {name: option.type for name, option in option_values.declared(base).items()}
    told = get_type_hints(options, include_extras=True)
    assert told == {name: kind for name, kind in declared.items() if name not in left_out}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_the_signature(name):
    for parameter in inspect.signature(methods.find(name).__init__, eval_str=True).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            assert get_origin(parameter.annotation) is Unpack
