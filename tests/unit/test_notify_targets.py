"""The file of targets: each key of the contract's example, and one line for each fault, which never has a secret."""

from pathlib import Path

import pytest

from streams.notify.targets import TargetsFile, TargetsFileError, parse_targets
from tests.helpers.notify import parse_one, write_targets
from tests.helpers.webhooks import OTHER_SECRET, SECRET

SYSTEM = 'name = "one"\nurl = "https://hooks.example/milepost"\nsecret_file = "hook.secret"\n'
PEOPLE = 'name = "team"\nurl = "ntfy://ntfy.example/milepost"\n'


def fault_of(block: str, folder: Path) -> str:
    table = parse_targets(write_targets(folder, block).read_text(), folder)
    assert not table.targets
    [fault] = table.unusable.values()
    assert "\n" not in fault
    return fault


def test_every_key_of_the_contracts_example_is_understood(tmp_path: Path) -> None:
    (tmp_path / "hook.secret").write_text(f"{SECRET}\n{OTHER_SECRET}\n")
    table = parse_targets(
        """
[[target]]
name = "operations"
url = "https://hooks.example/milepost"
secret_file = "hook.secret"
when = "at once"
programmes = ["*"]
projects = ["plant", "lot-2"]
milestones = ["permit-approved"]
types = ["milepost.gate.opened.v1"]
min_days = 1
gates = false
private = false

[[target]]
name = "people"
url_file = "people.url"
when = "weekly mon 08:00"
timezone = "Europe/Ulyanovsk"
programmes = ["north"]
gates = true
""",
        tmp_path,
    )
    assert table.unusable == {"people": f"url_file: {tmp_path}/people.url cannot be read: No such file or directory"}
    [operations] = table.targets
    assert len(operations.secrets) == 2
    assert operations.is_system
    assert operations.filters.programmes is None
    assert operations.filters.projects == frozenset({"plant", "lot-2"})

    (tmp_path / "people.url").write_text("slack://tokena/tokenb/tokenc/#milepost\n")
    table = parse_targets((tmp_path / "people.url").read_text() and _people(), tmp_path)
    [people] = table.targets
    assert not people.is_system
    assert people.digest_times is not None
    assert people.filters.is_for_gates


def _people() -> str:
    return '[[target]]\nname = "people"\nurl_file = "people.url"\nwhen = "weekly mon 08:00"\ngates = true\n'


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ('url = "https://hooks.example/"\n', "`name`"),
        (SYSTEM.replace("one", "a b"), "a name has at most 64"),
        (SYSTEM + "colour = 1\n", "colour"),
        ('name = "one"\n', "one of url and url_file"),
        (SYSTEM + 'url_file = "x"\n', "one of url and url_file"),
        (SYSTEM.replace("https://hooks.example/milepost", "ftp://files.example/"), "https:// for a system"),
        (SYSTEM.replace("https://hooks.example/milepost", "json://files.example/"), "https:// for a system"),
        (SYSTEM.replace("https://hooks.example/milepost", "hooks.example"), "no scheme"),
        (SYSTEM.replace("https", "http"), "private = true"),
        (SYSTEM.replace("hooks.example", "127.0.0.1"), "no public address"),
        (SYSTEM.replace("hooks.example", "[::ffff:10.0.0.1]"), "no public address"),
        (SYSTEM.replace("hooks.example", "169.254.169.254"), "no public address"),
        (SYSTEM.replace("hooks.example", "me:secret@hooks.example"), "user or a fragment"),
        (SYSTEM.replace("hooks.example", "hooks.example:port"), "no port that there is"),
        (SYSTEM.replace("/milepost", "/mile post"), "blanks"),
        (SYSTEM.replace('secret_file = "hook.secret"\n', ""), "needs secret_file"),
        (SYSTEM.replace("hook.secret", "none"), "secret_file: "),
        (SYSTEM + 'when = "daily 08:00"\n', "a digest is for people"),
        (PEOPLE + 'secret_file = "hook.secret"\n', "http(s) alone"),
        (PEOPLE + 'when = "daily 8:00"\n', "daily 08:00"),
        (PEOPLE + 'when = "weekly monday 08:00"\n', "daily 08:00"),
        (PEOPLE + 'when = "daily 24:00"\n', "daily 08:00"),
        (PEOPLE + 'timezone = "Europe/Ulyanovsk"\n', "for digests"),
        (PEOPLE + 'when = "daily 08:00"\ntimezone = "Europe/Atlantis"\n', "no timezone"),
        (PEOPLE + 'when = "daily 08:00"\ntimezone = "../../etc/passwd"\n', "no timezone"),
        (PEOPLE + "programmes = []\n", "programmes"),
        (PEOPLE + 'programmes = ["North"]\n', "programmes: 'North'"),
        (PEOPLE + 'types = ["moved"]\n', "types: 'moved'"),
        (PEOPLE + "min_days = -1\n", "min_days"),
        (PEOPLE + 'gates = "yes"\n', "gates"),
    ],
)
def test_each_fault_is_one_line(block: str, words: str, tmp_path: Path) -> None:
    assert words in fault_of(block, tmp_path)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!", SECRET.removeprefix("whsec_"), f"{SECRET} " * 3]
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str, tmp_path: Path) -> None:
    path = write_targets(tmp_path, SYSTEM)
    (tmp_path / "hook.secret").write_text(secret)
    [fault] = parse_targets(path.read_text(), tmp_path).unusable.values()
    assert "secret_file" in fault
    assert SECRET[6:] not in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[target]", "not TOML"),
        ("", "1 to 50"),
        ("target = 1", "no list of tables"),
        ('colour = "red"\n[[target]]\nname = "a"', "'colour' stands"),
        ('[[target]]\nname = "a"\n[[target]]\nname = "a"', "two targets have the name 'a'"),
        ("[[target]]\n" * 51, "1 to 50"),
    ],
)
def test_a_file_that_is_none_of_targets_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TargetsFileError, match=words.replace("[", r"\[")):
        parse_targets(text, tmp_path)


def test_schemes_of_people_may_have_tls(tmp_path: Path) -> None:
    assert parse_one(PEOPLE.replace("ntfy://", "ntfys://"), tmp_path).scheme == "ntfys"


def test_only_a_change_of_the_entry_changes_its_fingerprint(tmp_path: Path) -> None:
    first = parse_one(SYSTEM, tmp_path)
    path = write_targets(tmp_path, SYSTEM)
    (tmp_path / "hook.secret").write_text(OTHER_SECRET)
    [rotated] = parse_targets(path.read_text(), tmp_path).targets
    assert rotated != first
    assert rotated.fingerprint == first.fingerprint
    assert parse_one(SYSTEM + "min_days = 3\n", tmp_path).fingerprint != first.fingerprint


def test_a_file_that_breaks_changes_no_target(tmp_path: Path) -> None:
    file = TargetsFile(write_targets(tmp_path, SYSTEM))
    file.load()
    before = file.table
    assert not file.reload()
    (tmp_path / "targets.toml").write_text("[[target]")
    assert file.reload()
    assert file.problem
    assert not file.reload()
    assert file.table == before
    write_targets(tmp_path, SYSTEM)
    assert file.reload()
    assert not file.problem


@pytest.mark.parametrize("content", [b"#" * (1024 * 1024 + 1), b"\xff"])
def test_a_file_that_is_no_text_of_a_bearable_size_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "targets.toml"
    path.write_bytes(content)
    with pytest.raises(TargetsFileError, match="is not UTF-8, or larger than 1048576 bytes"):
        TargetsFile(path).load()
