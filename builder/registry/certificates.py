"""Whom we trust over TLS, and who we are: the system's authorities, and what users keep for single registries.

A folder ``certs.d/HOST[:PORT]`` may hold ``*.crt`` (authorities that are trusted too) and pairs ``*.cert``, ``*.key``
(client certificates).

source   Docker's manual, "Verify repository client with certificates"; containers-certs.d(5)
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from builder.errors import RegistryError

# Where the distributions keep the system's authorities, for an OpenSSL that was built elsewhere and doesn't know.
# source   Go, crypto/x509, root_linux.go
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def own_folders(host: str, environment: Mapping[str, str], etc: Path) -> tuple[Path, ...]:
    """The folders with certificates for *host* (``host[:port]``), of those that are there."""
    home = Path(environment.get("HOME") or "/")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    parents = (config / "containers", config / "docker", etc / "containers", etc / "docker")
    return tuple(folder for parent in parents if (folder := parent / "certs.d" / host).is_dir())


def tls_context(environment: Mapping[str, str], folders: tuple[Path, ...], *, verified: bool = True) -> ssl.SSLContext:
    """How TLS is spoken with one host, or, with no *folders*, with any.

    environment  SSL_CERT_FILE and SSL_CERT_DIR take the place of the system's authorities, as for OpenSSL
    verified     False: any certificate will do
    raises       RegistryError ``invalid-certificate`` that names the file
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verified:
        _load_authorities(context, environment)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for folder in folders:
        _load_own(context, folder)
    return context


def _load_authorities(context: ssl.SSLContext, environment: Mapping[str, str]) -> None:
    file, folder = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    if file or folder:
        try:
            context.load_verify_locations(file or None, folder or None)
        except (OSError, ssl.SSLError) as e:
            raise _unusable(file or str(folder), e) from None
        return
    context.load_default_certs()
    known = ssl.get_default_verify_paths()
    if context.cert_store_stats()["x509_ca"] == 0 and not known.capath:
        for bundle in _BUNDLES:
            if Path(bundle).is_file():
                context.load_verify_locations(bundle)
                return


def _load_own(context: ssl.SSLContext, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                # Asked for a passphrase, OpenSSL would read the terminal.
                context.load_cert_chain(path, path.with_suffix(".key"), password=lambda: "")
        except (OSError, ssl.SSLError, ValueError) as e:
            raise _unusable(str(path), e) from None


def _unusable(path: str, error: Exception) -> RegistryError:
    said = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return RegistryError(f"cannot use the certificate {path}: {said}", code="invalid-certificate")
