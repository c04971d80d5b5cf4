"""What a webhook never reaches, by address or by a name that stands for one."""

import asyncio
from ipaddress import ip_address

import pytest

from streams.notify.addresses import CheckedResolver, RefusedAddressError, is_refused


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::",
        ),
        *("2001:0:53aa:64c::1", "::127.0.0.1"),
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert is_refused(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public_is_not_refused(address: str) -> None:
    assert not is_refused(ip_address(address))


def test_a_name_that_stands_for_this_machine_is_refused() -> None:
    with pytest.raises(RefusedAddressError, match="localhost stands for"):
        asyncio.run(CheckedResolver().resolve("localhost", 443))


def test_the_addresses_that_are_handed_out_are_those_that_were_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["93.184.215.14"], ["93.184.215.14", "10.0.0.1"]]

    async def resolve() -> list[str]:
        loop = asyncio.get_running_loop()

        async def answer(*_arguments: object, **_options: object) -> list[object]:
            return [(2, 1, 6, "", (address, 443)) for address in answers.pop(0)]

        monkeypatch.setattr(loop, "getaddrinfo", answer)
        results = [found["host"] for found in await CheckedResolver().resolve("hooks.example", 443)]
        with pytest.raises(RefusedAddressError):
            await CheckedResolver().resolve("hooks.example", 443)
        return results

    assert asyncio.run(resolve()) == ["93.184.215.14"]
