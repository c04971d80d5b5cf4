"""docs/kubernetes.md: every command is read as its programs would read it, and what it names is there."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.helm.generated import CHART
from tests.chart.cluster_objects import made_secrets
from tests.chart.rendering import EXAMPLES, container_of, example, helm, named, of_kind, render, used_secrets
from tests.chart.schemas import find_faults
from tests.helpers.promtool import skip_without

CHECKOUT: Final = Path(CHART).parents[2]
PAGE: Final = (CHECKOUT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
#: Programs that are not run here; what they are called with is written down.
_RECORDED: Final = ("kubectl", "helm", "make", "docker", "curl")


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that looks like a checkout with its environment."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("deploy", "models"):
        (folder / name).symlink_to(CHECKOUT / name)
    (folder / "event.json").write_text("{}")
    return folder


@pytest.fixture(scope="module", name="calls")
def _calls(folder: Path) -> Sequence[list[str]]:
    """Give what the programs are called with when all blocks are pasted in their order; other programs really run."""
    recorders = "".join(f"{name}() {{ printf '%q ' {name} \"$@\" >>calls; echo >>calls; }}\n" for name in _RECORDED)
    script = "set -euo pipefail\nTOKEN=t CLIENT_SECRET=s\n" + recorders + "\n".join(BLOCKS)
    done = subprocess.run(["/bin/bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in (folder / "calls").read_text().splitlines()]


@cache
def _arguments(call: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="helm", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("command", choices=["upgrade"])
    parser.add_argument("--wait", action="store_true", required=True)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--reuse-values", action="store_true")
    parser.add_argument("release")
    parser.add_argument("chart")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--values", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    return parser.parse_args(call[1:])


def installations(calls: Sequence[list[str]]) -> Iterator[tuple[argparse.Namespace, dict[str, Any]]]:
    """Give each call of helm with the values that it makes, as helm merges them."""
    values: dict[str, Any] = {}
    for call in calls:
        if call[0] != "helm":
            continue
        arguments = _arguments(tuple(call))
        # Those of the installation before
        values = values if arguments.reuse_values else {}
        for path in arguments.values:
            values = merge(values, yaml.safe_load((CHECKOUT / path).read_text(encoding="utf-8")))
        for assignment in arguments.set:
            name, _, written = assignment.partition("=")
            value = yaml.safe_load(written)
            for part in reversed(name.split(".")):
                value = {part: value}
            values = merge(values, value)
        yield arguments, values


def merge(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others over them, mappings key by key."""
    merged = dict(values)
    for name, value in others.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def test_every_installation_renders_to_what_an_api_server_takes(calls: Sequence[list[str]]) -> None:
    found = list(installations(calls))

    assert [arguments.install for arguments, _ in found] == [True, True, False]
    for arguments, values in found:
        assert (CHECKOUT / arguments.chart).resolve() == CHART.resolve()
        manifests = render(values, release=arguments.release, namespace=arguments.namespace)
        assert [fault for each in manifests for fault in find_faults(each)] == []
        images = {container_of(each)["image"] for each in of_kind(manifests, "Deployment", "Job")}
        # The image that was built and pushed above
        assert images == {call[2] for call in calls if call[:2] == ["docker", "push"]}


def test_what_kubectl_is_asked_for_is_there(calls: Sequence[list[str]], folder: Path) -> None:
    [_, values, _] = [values for _, values in installations(calls)]
    manifests = render(values)
    names = {(each["kind"].lower(), each["metadata"]["name"]) for each in manifests}
    examples = {
        (each["kind"].lower(), each["metadata"]["name"])
        for name in ("kafka.yaml", "postgres.yaml")
        for each in example(name)
    }
    verbs = set()
    for call in (each for each in calls if each[0] == "kubectl"):
        options = [part for part in call if part.startswith("--")]
        words = [part for part in call[1:] if "/" in part and not part.startswith("--") and "=" not in part]
        verb = next(
            part for part in call[1:] if part in {"create", "label", "apply", "wait", "logs", "exec", "port-forward"}
        )
        verbs.add(verb)
        if verb in {"logs", "exec", "port-forward"}:
            kind, name = words[0].split("/")
            assert ({"deploy": "deployment"}.get(kind, kind), name) in names, call
        elif verb == "wait" and words:
            kind, name = words[0].split("/")
            assert (kind.partition(".")[0], name) in examples
        elif verb == "apply":
            files = [call[at + 1] for at, part in enumerate(call) if part == "--filename"]
            assert files
            assert all((CHECKOUT / path).is_file() for path in files)
        for option in options:
            if option.startswith("--from-file="):
                assert (folder / option.rpartition("=")[2]).is_file()
    assert verbs == {"create", "label", "apply", "wait", "logs", "exec", "port-forward"}


def test_the_doctor_is_asked_in_a_pod_that_has_its_role(calls: Sequence[list[str]]) -> None:
    asked = [call[call.index("exec") + 1 :] for call in calls if "exec" in call]

    for pod, separator, program, command, *role in asked:
        assert (separator, program, command) == ("--", "milepost", "doctor")
        assert pod == f"deploy/milepost-{role[1] if role else 'worker'}"
    assert len(asked) == 4


def test_a_port_that_is_forwarded_is_one_of_the_service(calls: Sequence[list[str]]) -> None:
    [[*_, service, ports]] = [call for call in calls if "port-forward" in call]
    [port] = named(render(), "Service", service.partition("/")[2])["spec"]["ports"]

    assert ports == f"8090:{port['port']}"


def test_operators_make_each_secret_that_pods_name_or_a_command_of_the_page_does(calls: Sequence[list[str]]) -> None:
    made = dict(made_secrets())
    for call in (each for each in calls if "secret" in each):
        assert call[call.index("secret") + 1] == "generic"
        options = [option.partition("=")[2] for option in call if option.startswith("--from-")]
        # A file without a key has its own name.
        made[call[call.index("generic") + 1]] = {option.partition("=")[0].rpartition("/")[2] for option in options}
    for _, values in installations(calls):
        for secret, keys in used_secrets(render(values)).items():
            assert keys <= made[secret], secret
    [cluster] = example("postgres.yaml")
    for role in cluster["spec"]["managed"]["roles"]:
        assert {"username", "password"} <= made[role["passwordSecret"]["name"]]
    assert made["milepost-notify-targets"] == {"targets.toml", "hook.secret"}


@skip_without("amtool")
def test_alertmanager_takes_the_file_of_its_secret(calls: Sequence[list[str]], folder: Path) -> None:
    [secret] = [call for call in calls if "alertmanager-milepost" in call]
    [name, path] = next(part for part in secret if part.startswith("--from-file=")).split("=")[1:]
    done = subprocess.run(["amtool", "check-config", folder / path], capture_output=True, text=True, check=False)  # noqa: S607 - wherever Debian put it

    assert name == "alertmanager.yaml"
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_value_that_the_page_names_is_one_of_the_chart() -> None:
    defaults = helm.Chart.load(CHART).values
    named_values = set(
        re.findall(
            r"`((?:kafka|database|init|worker|board|gateway|notify|monitoring|networkPolicy)(?:\.\w+)+)[`:]", PAGE
        )
    )

    assert len(named_values) > 20
    for name in named_values:
        value: Any = defaults
        # `kafka.username` is one of each program.
        program = (
            "worker"
            if name.split(".")[1] in {"username", "existingSecret", "passwordKey", "certificateKey", "keyKey", "key"}
            else None
        )
        for part in ([program] if program else []) + name.split("."):
            # Helm leaves out what is null.
            value = value[part] if part not in {"replication", "minInsync"} else None


def test_every_file_of_the_examples_is_on_the_page() -> None:
    for path in EXAMPLES.iterdir():
        assert path.name in PAGE


def test_figures_of_capacity_are_those_of_the_page_that_each_names() -> None:
    rows = re.findall(r"\| ([^|\n]+) \| ([^|\n]+) \| \[\w+\]\((\w+\.md)#", PAGE.partition("## Scaling")[2])

    assert len(rows) >= 7
    for what, figure, page in rows:
        text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8").replace(",", "")
        for number in re.findall(r"\d+(?:\.\d+)?", f"{what} {figure}".replace(",", "").partition("(computed)")[0]):
            is_ours = number in {"1", "20", "12"} or "computed" in figure
            assert is_ours or re.search(rf"\b{re.escape(number)}\b", text), (what, number)
