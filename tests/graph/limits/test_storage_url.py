"""URLs of the storage: accepted forms, and errors without credentials."""

import traceback
from pathlib import Path

import pytest

from graph.limits.storage_url import parse_storage_url

FORMS = {
    "redis://redis.internal": ("redis.internal:6379", "async+redis://redis.internal:6379/"),
    "valkey://h/3": ("h:6379", "async+redis://h:6379/3"),
    "REDIS://u:p%40@H:1/0": ("h:1", "async+redis://u:p%40@h:1/0"),
    "redis://:a@b@h": ("h:6379", "async+redis://:a@b@h:6379/"),
    "redis://[::1]:6380/": ("[::1]:6380", "async+redis://[::1]:6380/"),
    "rediss://h": ("h:6379", "async+rediss://h:6379/"),
    "valkeys://h": ("h:6379", "async+rediss://h:6379/"),
    "redis+unix:///run/r.sock": ("/run/r.sock", "async+redis+unix:///run/r.sock"),
    "valkey+unix://u:p@/r?db=2": ("/r", "async+redis+unix://u:p@/r?db=2"),
    "redis+sentinel://a,b:1/main": (
        "main of the sentinels a:26379,b:1",
        "async+redis+sentinel://a:26379,b:1/main",
    ),
}
INVALID = [
    "redis://s3cret:0",
    "redis://s3cret /0",
    "s3cret",
    "",
    "http://:s3cret@h",
    "redis:s3cret",
    "redis:///0",
    "redis://:s3cret@",
    "redis://:s3/cret@h",
    "redis://:s3cret@h:port",
    "redis://:s3cret@h:65536",
    "redis://:s3cret@h/main",
    "redis://:s3cret@h/-1",
    "redis://:s3cret@h/0/1",
    "redis://:s3cret@[::1",
    "redis://:s3cret@a,b",
    "redis+cluster://:s3cret@a:1,b:1",
    "redis+unix://:s3cret@h/run/r.sock",
    "redis+unix://:s3cret@",
    "redis+unix://:s3cret@/r?db=\u2460",
    "redis+sentinel://:s3cret@a:1",
    "redis+sentinel://:s3cret@a:1/b/c",
    "redis+sentinel://:s3cret@a:1,,b:1/main",
]


@pytest.mark.parametrize("url", FORMS)
def test_url_is_read(url: str) -> None:
    address = parse_storage_url(url)
    assert (address.name, address.uri) == FORMS[url]
    assert address.options == {}


def test_credentials_of_sentinels_are_decoded_and_not_in_the_url() -> None:
    address = parse_storage_url("redis+sentinel://u%40:p%2F@a:1/main")
    assert address.uri == "async+redis+sentinel://a:1/main"
    assert address.options == {"username": "u@", "password": "p/"}
    assert "p/" not in repr(address)


@pytest.mark.parametrize("url", INVALID)
def test_invalid_url_is_rejected_with_the_accepted_forms(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must be redis://") as caught:
        parse_storage_url(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://:s3#cret@h", "must be redis://"),
        ("redis://:s3@h#cret", "a `#` in the password must be written as %23"),
        ("redis://h?socket_timeout=1", "accepts these parameters, each once: none"),
        (
            "rediss://h?ssl_cert_reqs=none",
            "accepts these parameters, each once: ssl_ca_certs, ssl_certfile, ssl_keyfile",
        ),
        ("redis+unix:///r?db=1&db=2", "accepts these parameters, each once: db"),
        ("redis+sentinel://h:1/s?db=1", "accepts these parameters, each once: none"),
        ("rediss://h?ssl_ca_certs=/nothing/s3cret", "the file of ssl_ca_certs does not exist"),
    ],
)
def test_parameter_that_would_be_ignored_or_unsafe_is_rejected(url: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")) as caught:
        parse_storage_url(url)
    assert "s3cret" not in str(caught.value)


def test_certificates_are_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    address = parse_storage_url(f"rediss://h?ssl_ca_certs={file}")
    assert address.uri == f"async+rediss://h:6379/?ssl_ca_certs={file}".replace(
        str(file), str(file).replace("/", "%2F")
    )
