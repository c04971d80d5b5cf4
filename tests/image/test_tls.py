"""TLS with Python 3.13, which refuses more certificates than its predecessors unless Milepost says otherwise."""

from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from tests.helpers.containers import ContainerImage
from tests.helpers.workers import WorkerProcess
from tests.image.installation import Installation, free_ports

#: aiokafka reads in a worker and publishes in a gateway; kafka-python asks for their rights before.
PARTS: Final = ("worker", "gateway")
#: The listener whose certificate, and its authority's, have no key identifiers.
BARE: Final = "bare"
STRICT: Final = {"MILEPOST_KAFKA_SSL_STRICT": "true"}
_FLAGS: Final = """
import json, ssl, sys
flags = ssl.create_default_context().verify_flags
print(json.dumps([sys.version_info[:2] >= (3, 13), bool(flags & ssl.VERIFY_X509_STRICT)]))
"""


def test_the_images_python_is_strict_by_itself(milepost_image: ContainerImage) -> None:
    assert milepost_image.run_python(_FLAGS) == [True, True]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("listener", "strict"), [("login", {}), ("login", STRICT), (BARE, {})])
def test_a_certificate_is_taken(  # noqa: PLR0913 - a case, and fixtures
    part: str,
    listener: str,
    strict: dict[str, str],
    installation: Installation,
    initialized: CompletedProcess[str],
    milepost_image: ContainerImage,
    tmp_path: Path,
) -> None:
    assert initialized.returncode == 0, initialized.stderr
    ports = free_ports()
    setup = installation.setup(part, ports, listener=listener, **strict)
    with milepost_image.running(part, log_folder=tmp_path, setup=setup) as container:
        WorkerProcess(container.process, ports.metrics, container.log_path).wait_until_ready()

        assert container.stop() == 0


@pytest.mark.parametrize("part", PARTS)
def test_a_certificate_without_key_identifiers_is_refused_in_a_line_when_strictness_is_asked_for(
    part: str, installation: Installation, initialized: CompletedProcess[str], milepost_image: ContainerImage
) -> None:
    assert initialized.returncode == 0, initialized.stderr
    result = milepost_image.run(part, setup=installation.setup(part, free_ports(), listener=BARE, **STRICT))

    assert result.returncode == 1
    assert "certificate" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
