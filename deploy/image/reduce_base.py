"""Takes out of a base image what Milepost does not need: installers, Python's own tests, programs with root's rights.

Runs once, as root, with the base's own Python, where there may be no shell; then it removes itself.
"""

import shutil
import stat
import sys
import sysconfig
from pathlib import Path

#: Debian's Python has the wheels of its installer here.
_WHEELS = Path("/usr/share/python-wheels")
_INSTALLERS = ("pip", "setuptools", "wheel")
_MODULES = (
    *_INSTALLERS,
    *(f"{name}-*.dist-info" for name in _INSTALLERS),
    "ensurepip",
    "venv",
    "test",
    "idlelib",
    "lib2to3",
)
_FOLDERS_OF_PROGRAMS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/local/bin")


def remove_modules() -> None:
    """Remove pip, everything that could bring it back, and tests."""
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {
        "/usr/lib/python3/dist-packages"
    }
    for found in (path for folder in libraries for pattern in _MODULES for path in Path(folder).glob(pattern)):
        shutil.rmtree(found)
    for program in Path(sys.base_prefix, "bin").glob("pip*"):
        program.unlink()
    shutil.rmtree(_WHEELS, ignore_errors=True)


def remove_rights_of_root() -> None:
    """Let no program run with other rights than its caller's."""
    for folder in map(Path, _FOLDERS_OF_PROGRAMS):
        for path in () if folder.is_symlink() else folder.rglob("*"):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


remove_modules()
remove_rights_of_root()
Path(__file__).unlink()
