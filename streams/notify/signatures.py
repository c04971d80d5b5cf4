"""Signatures of webhooks, as Standard Webhooks says: HMAC-SHA256 of id, time and content, one for each secret.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest


def sign(secrets: Sequence[bytes], webhook_id: str, timestamp: int, content: bytes) -> dict[str, str]:
    """Return the three headers of a webhook. During a change of secrets there are two signatures."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), content))
    signatures = (b64encode(digest(secret, signed, sha256)).decode() for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
