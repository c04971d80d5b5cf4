"""Secrets of the settings: each is a value, or stands in a file that is read whenever the secret is needed."""

from models.settings import Settings, setting_error
from models.settings_file import read_secret_file


def read_secret(settings: Settings, name: str) -> str | None:
    """Return a secret as its setting, or the file that its `…_file` names, has it now; None: neither is set.

    Raises `SettingsError` for a file that cannot be read any more.
    """
    if (path := getattr(settings, f"{name}_file")) is not None:
        try:
            return read_secret_file(path)
        except ValueError as error:
            raise setting_error(f"{name}_file", str(error)) from None
    secret = getattr(settings, name)
    return None if secret is None else str(secret.get_secret_value())
