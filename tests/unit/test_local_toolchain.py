"""Java and the jars: what they do before anything is downloaded."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from lpm.local import jars, java
from lpm.local.files import write_atomically


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a state folder's [home]"
    monkeypatch.setenv("LPM_HOME", str(folder))
    return folder


@pytest.fixture
def no_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _authority(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def test_java_runs_although_spark_asks_for_a_module_that_it_lacks(home: Path) -> None:
    java_home = java.java_home()
    options = ["--add-modules=jdk.incubator.vector", "-Dword=two words", "-XshowSettings:properties"]
    done = subprocess.run(
        [java_home / "bin" / "java", *options, "-version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "word = two words" in done.stderr
    assert java_home.is_relative_to(home)


def test_java_home_is_made_once(home: Path) -> None:
    wrapper = java.java_home() / "bin" / "java"
    made = wrapper.stat().st_mtime_ns
    java.java_home()
    assert wrapper.stat().st_mtime_ns == made


def test_a_company_authority_is_trusted_even_beside_a_broken_certificate(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    broken = b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
    bundle.write_bytes(b"# a comment\n" + broken + _authority("Company Authority"))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    options = dict(option.split("=", 1) for option in java.network_options())
    store = pkcs12.load_pkcs12(
        Path(options["-Djavax.net.ssl.trustStore"]).read_bytes(), java.TRUST_STORE_PASSWORD.encode()
    )
    names = [entry.certificate.subject.rfc4514_string() for entry in store.additional_certs]
    assert names == ["CN=Company Authority"]


def test_the_proxy_of_the_environment_is_javas_too(
    home: Path, no_network_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:se%20cret@proxy.example:8080")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.example")
    options = java.network_options()
    assert "-Dhttps.proxyHost=proxy.example" in options
    assert "-Dhttps.proxyPort=8080" in options
    assert "-Dhttp.proxyPassword=se cret" in options
    assert "-Dhttp.nonProxyHosts=127.0.0.1|*.example" in options


def test_a_missing_package_says_what_to_do() -> None:
    with pytest.raises(ModuleNotFoundError, match="make test"):
        java.package_folder("no_such_package_here")


def test_the_lock_names_a_digest_for_every_root_of_every_set() -> None:
    for jar_set in jars.SETS:
        locked = jars.read_lock(jar_set)
        assert {jars.Jar.parse(root) for root in jar_set.roots} <= locked.keys()
        assert all(len(digest) == 64 for digest in locked.values())


def test_an_atomic_write_leaves_nothing_beside_the_file_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "secret"
    write_atomically(path, b"one", mode=0o600)
    write_atomically(path, b"two", mode=0o600)
    assert [file.name for file in path.parent.iterdir()] == ["secret"]
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)


def test_threads_that_write_one_file_at_once_do_not_take_each_others_draft(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_atomically(path, bytes([number]) * 100_000), range(64)))
    assert [file.name for file in tmp_path.iterdir()] == ["store"]
    assert path.read_bytes() in {bytes([number]) * 100_000 for number in range(64)}
