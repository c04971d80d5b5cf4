"""Tokens of the gateway: what their file may say, what stays in force when it breaks, and how rates are counted."""

from hashlib import sha256
from pathlib import Path

import pytest

from streams.gateway.rates import RateLimiter
from streams.gateway.tokens import Token, TokensFile, TokensFileError, parse_tokens

DIGESTS = [sha256(bytes([number])).hexdigest() for number in range(3)]


def block(name: str = "office", digest: str = DIGESTS[0], **overrides: str) -> str:
    fields = {"sources": '["//office.example"]', "programmes": '["*"]'} | overrides
    lines = [f'name = "{name}"', f'sha256 = "{digest}"', *(f"{key} = {value}" for key, value in fields.items())]
    return "\n".join(["[[token]]", *lines, ""])


def fault(text: str) -> str:
    with pytest.raises(TokensFileError) as error:
        parse_tokens(text)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_token_is_found_by_its_secret_and_by_nothing_else() -> None:
    table = parse_tokens(block(digest=sha256(b"secret").hexdigest().upper()))
    found = table.find("secret")
    assert found is not None
    assert (found.name, found.rate) == ("office", None)
    for wrong in ("", "secre", "Secret", "secret ", sha256(b"secret").hexdigest(), "\udcff"):
        assert table.find(wrong) is None


@pytest.mark.parametrize(
    ("pattern", "source", "is_allowed"),
    [
        ("//office.example", "//office.example", True),
        ("//office.example", "//office.example/", False),
        ("//office.example/*", "//office.example/north", True),
        ("//office.example/*", "//office.example/north/1", True),
        ("//office.example/*", "//office.example", False),
        ("//office.example/*", "//office.example.evil/", False),
        ("//office*", "//office.example", False),
    ],
)
def test_a_source_is_exact_or_a_prefix(pattern: str, source: str, is_allowed: bool) -> None:  # noqa: FBT001 - as the table says
    assert parse_tokens(block(sources=f'["//else.example", "{pattern}"]')).tokens[0].allows_source(source) is is_allowed


def test_programmes_are_named_or_all() -> None:
    named, all_of_them = (parse_tokens(block(programmes=text)).tokens[0] for text in ('["north", "south"]', '["*"]'))
    assert [named.allows_programme(name) for name in ("north", "south", "east")] == [True, True, False]
    assert all_of_them.allows_programme("east")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is no [[token]]"),
        ("[[token]]\n", "token 1: Object missing required field"),
        ("token = 1", "not as it must be"),
        ("[[tokens]]\n", "unknown field"),
        ("[[token]", "not as it must be"),
        (block(digest="ab"), "sha256 is not 64 hexadecimal digits"),
        (block(digest="g" * 64), "sha256 is not 64 hexadecimal digits"),
        (block(name="a b"), "a name has at most"),
        (block(name="-"), "a name has at most"),
        (block(name="a" * 65), "a name has at most"),
        (block(sources="[]"), "token 'office': Expected `array` of length >= 1"),
        (block(sources='"//a"'), "token 'office': Expected `array`"),
        (block(sources='["*"]'), "a prefix ends in /*"),
        (block(sources='[""]'), "source ''"),
        (block(sources=r'["a\u0007"]'), r"source 'a\x07'"),
        (block(programmes="[]"), "length >= 1"),
        (block(programmes='["North"]'), "programme 'North' is no name of a programme"),
        (block(programmes='["north*"]'), "programme 'north*' is no name of a programme"),
        (block(rate="0"), "Expected `float` > 0"),
        (block(rate='"fast"'), "Expected `float"),
        (block(owner='"x"'), "unknown field `owner`"),
        (block() + block(digest=DIGESTS[1]), "two tokens have the name 'office'"),
        (block() + block(name="other"), "'office' and 'other' are the same token"),
    ],
)
def test_a_fault_of_the_file_is_said_in_one_line(text: str, expected: str) -> None:
    assert expected in fault(text)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ('["//a/x"]', '["//a/x"]', "//a/x"),
        ('["//a/*"]', '["//b", "//a/x"]', "//a/x"),
        ('["//a/x"]', '["//a/*"]', "//a/x"),
        ('["//a/*"]', '["//a/b/*"]', "//a/b/*"),
        ('["//a/*"]', '["//b/*", "//ab"]', None),
        ('["//a"]', '["//a/*"]', None),
    ],
)
def test_tokens_whose_sources_overlap_have_the_same_programmes(one: str, other: str, shared: str | None) -> None:
    pair = [block(sources=one, programmes='["a", "b"]'), block("other", DIGESTS[1], sources=other, programmes='["a"]')]
    same = pair[1].replace('["a"]', '["b", "a"]')
    assert len(parse_tokens(pair[0] + same).tokens) == 2
    for ordered in (pair, pair[::-1]):
        if shared is None:
            assert len(parse_tokens("".join(ordered)).tokens) == 2
        else:
            assert f"may both speak for {shared}: give them the same programmes" in fault("".join(ordered))


def test_a_file_that_breaks_leaves_the_last_good_one_in_force(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(block(digest=sha256(b"first").hexdigest()))
    file = TokensFile(path)
    file.load()
    assert (file.reload(), file.problem) == (False, "")

    for broken in ("[[token]", "", "\udcff", None):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken.encode("utf-8", "surrogateescape"))
        assert file.reload()
        assert not file.reload(), "it is said once"
        assert file.problem.startswith(f"{path}")
        assert file.table.find("first") is not None

    path.write_text(block(digest=sha256(b"first").hexdigest()))
    assert file.reload()
    assert file.problem == ""
    path.write_text(block(digest=sha256(b"second").hexdigest()))
    assert file.reload()
    assert (file.table.find("first"), file.problem) == (None, "")
    assert file.table.find("second") is not None


def test_all_programmes_may_be_said_in_more_than_one_way() -> None:
    text = block(programmes='["*"]') + block("other", DIGESTS[1], programmes='["*", "north"]')
    assert len(parse_tokens(text).tokens) == 2


def numbered_tokens(count: int) -> str:
    return "".join(block(f"t{number}", f"{number:064x}", sources=f'["//{number}/*"]') for number in range(count))


@pytest.mark.timeout(10)
def test_a_file_has_at_most_1000_tokens() -> None:
    assert len(parse_tokens(numbered_tokens(1000)).tokens) == 1000
    assert "1001 tokens, allowed are 1000" in fault(numbered_tokens(1001))


def test_a_file_has_at_most_1_mib(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(block() + "#" * (1024 * 1024 - len(block())))
    file = TokensFile(path)
    file.load()
    path.write_text(path.read_text() + "#")
    assert file.reload()
    assert file.problem == f"{path}: more than 1024 KiB"


def test_a_path_that_is_no_file_is_a_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match="cannot be read: Is a directory"):
        TokensFile(tmp_path).load()


def test_a_file_that_cannot_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match=r"MILEPOST_GATEWAY_TOKENS: .*none cannot be read: No such file"):
        TokensFile(tmp_path / "none").load()


def rated(rate: float | None) -> Token:
    return Token("office", DIGESTS[0], ("//a",), ("*",), rate)


def test_without_a_rate_there_is_no_limit() -> None:
    limiter = RateLimiter()
    assert [limiter.take(rated(None), 0.0, 1000) for _ in range(100)] == [0] * 100


def test_a_second_worth_of_events_comes_at_once_and_then_as_many_as_become_free() -> None:
    limiter, token = RateLimiter(), rated(10)
    assert [limiter.take(token, 0.0, 1) for _ in range(11)] == [0] * 10 + [1]
    assert [limiter.take(token, 0.55, 1) for _ in range(6)] == [0] * 5 + [1]
    assert [limiter.take(token, 100.0, 1) for _ in range(11)] == [0] * 10 + [1]


def test_a_batch_larger_than_a_second_worth_is_let_through_and_paid_for() -> None:
    limiter, token = RateLimiter(), rated(10)
    assert limiter.take(token, 0.0, 100) == 0
    assert limiter.take(token, 0.0, 1) == 10
    assert limiter.take(token, 8.9, 1) == 1
    assert limiter.take(token, 9.2, 1) == 0


def test_a_rate_below_one_lets_one_event_through_at_a_time() -> None:
    limiter, token = RateLimiter(), rated(0.1)
    assert [limiter.take(token, now, 1) for now in (0.0, 5.0, 10.1)] == [0, 5, 0]


def test_tokens_have_rates_of_their_own() -> None:
    limiter = RateLimiter()
    other = Token("other", DIGESTS[1], ("//b",), ("*",), 1)
    assert limiter.take(rated(1), 0.0, 5) == 0
    assert limiter.take(other, 0.0, 1) == 0


def test_the_slowest_rate_waits_an_hour_at_most() -> None:
    limiter, token = RateLimiter(), rated(5e-324)
    assert [limiter.take(token, 0.0, 1) for _ in range(2)] == [0, 3600]


def test_a_token_that_is_gone_is_forgotten() -> None:
    limiter = RateLimiter()
    assert [limiter.take(rated(1), 0.0, 1) for _ in range(2)] == [0, 1]
    limiter.forget_others({"office"})
    assert limiter.take(rated(1), 0.0, 1) == 1
    limiter.forget_others(())
    assert limiter.take(rated(1), 0.0, 1) == 0
