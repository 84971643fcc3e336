"""Which URLs and addresses pass without a look-up."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

import pytest

from config.allow_list import AllowList
from contract.errors import BrokenBase64OrUrl
from download.address import check_url, is_global_address, judge_url
from tests.integration.download.loopback import policy


@pytest.mark.parametrize(
    "ip",
    [
        "8.8.8.8",
        "2606:4700:4700::1111",
        "2606:4700:4700::1111%eth0",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_global_addresses_are_global(ip: str) -> None:
    assert is_global_address(ip)
    assert is_global_address(ipaddress.ip_address(ip.partition("%")[0]))


@pytest.mark.parametrize(
    "ip",
    [
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:ffff::808:808",
        "64:ff9b:1:808:8:800::",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "2002:a00:1::808:808",
        "2001:0:808:808:0:0:5601:1",
        "2001:db8::1",
        "2001:0:7f00:1::f5ff:fffe",
        "2001:0:808:808::f5ff:fffe",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_not_everybody_reaches_are_not_global(ip: str) -> None:
    assert not is_global_address(ip)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com/a.jpg?x=1#part",
        "HTTPS://EXAMPLE.com:443/",
        "http://example.com:443/",
        "http://example.com:/",
        "http://example.com./",
        "http://my_shop.example.com/",
        "http://i❤.example/",
        "http://❤️-🍕.example/",
        "http://→.example/",
        "http://8.8.8.8/",
        "http://134744072/",
        "http://[2606:4700:4700::1111]/",
        "http://[2606:4700:4700::1111%25eth0]/",
        "http://localhost/",
        "http://bücher.example/ü.png",
        "http://例子.中国/图.jpg",
    ],
)
def test_an_allowed_url_passes(url: str) -> None:
    check_url(url, policy())


@pytest.mark.parametrize(
    "url",
    [
        # no URL, another scheme, no host
        "",
        "example.com/a.jpg",
        "//example.com/a.jpg",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/a.jpg",
        "gopher://example.com:80/_x",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http:",
        "http://",
        "http:///a.jpg",
        "http:example.com",
        "http://:80/",
        "http://?x",
        "http://./",
        # ports
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://example.com:8080/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:x/",
        "http://example.com:-80/",
        # credentials, and hosts that parsers disagree about
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://example.com@127.0.0.1/",
        "http://@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://127.0.0.1\\.example.com/",
        "http://127.0.0.1%2eexample.com/",
        "http://%31%32%37.0.0.1/",
        "http://exa mple.com/",
        "http://example.com/a\nb.jpg",
        "http://example.com/a\r\nX: y",
        "http://example.com/a\tb",
        "http://example.com/\x00",
        "http://example.com/\x7f",
        "http://example.com/\u2028",
        "http://example.com/\ud800",
        " http://127.0.0.1/\n",
        "\ufeffhttp://127.0.0.1/",
        "http:// example.com/",
        "http://example.com /",
        "http://example.com: 80/",
        "http://example\u3000.com/",
        "http://127.0.0.1\u3000/",
        "http://exa$mple.com/",
        "http://a..b/",
        f"http://{'a' * 64}.com/",
        f"http://{'a.' * 127}com/",
        "http://a_b.中国/",
        "http://❤\u200d🔥.example/",
        "http://-❤.example/",
        "http://❤$.example/",
        f"http://{'❤' * 60}.example/",
        f"http://{'ü' * 300}.example/",
        "http://example.com/" + "a" * 8192,
        # literal IPv4, in every spelling that the C library takes
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0X7F.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://0177.0x0.0.1/",
        "http://2852039166/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        # a number at the end, yet no address
        "http://256.256.256.256/",
        "http://1.2.3.4.5/",
        "http://08.8.8.8/",
        "http://8.8.8.8.0x/",
        "http://4294967296/",
        "http://example.1/",
        # literal IPv6
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1%25lo]/",
        "http://[fd00:ec2::254]/",
        "http://[::1/",
        "http://::1/",
        "http://[v1.x]/",
        "http://[example.com]/",
    ],
)
def test_a_forbidden_or_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(BrokenBase64OrUrl):
        check_url(url, policy())


@pytest.mark.parametrize(
    ("url", "plain", "host", "port"),
    [
        ("http://EXAMPLE.com.#x", "http://example.com/", "example.com", 80),
        ("https://bücher.example:443", "https://xn--bcher-kva.example/", None, 443),
        ("http://example.com:443/?q=1", "http://example.com:443/?q=1", "example.com", 443),
        ("http://0x8.0x8.2056/", "http://8.8.8.8/", "8.8.8.8", 80),
        ("http://[2606:4700::11%25e]/", "http://[2606:4700::11]/", "2606:4700::11", 80),
        ("http://I❤.example", "http://xn--i-7iq.example/", "xn--i-7iq.example", 80),
        ("http://xn--i-7iq.example", "http://xn--i-7iq.example/", "xn--i-7iq.example", 80),
    ],
)
def test_the_target_is_rebuilt_from_what_was_judged(
    url: str, plain: str, host: str | None, port: int
) -> None:
    target = judge_url(url, policy())
    assert target.url == plain
    assert target.port == port
    assert host in (None, target.host)


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1:8123", "http://127.0.0.1:8123/"),
        ("127.0.0.1:8123", "http://2130706433:8123/"),
        ("127.0.0.1:8123", "http://[::ffff:127.0.0.1]:8123/"),
        ("127.0.0.1:8123", "http://localhost:8123/"),  # its addresses are judged later
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("10.0.0.0/8", "http://10.1.2.3:8080/"),
        ("[::1]:9000", "http://[::1]:9000/"),
        ("::1", "http://[::1]:9000/"),
        ("fd00::/8", "http://[fd12::1]/"),
        ("[fd00::/8]:81", "http://[fd12::1]:81/"),
        ("files.internal", "http://files.internal:22/"),
        ("files.internal:8080", "http://FILES.internal.:8080/"),
        ("Bücher.internal:8080", "http://xn--bcher-kva.internal:8080/"),
        (" a.internal , ,10.0.0.0/8:81,", "http://10.9.9.9:81/"),
    ],
)
def test_the_allow_list_lets_its_entries_pass(allow: str, url: str) -> None:
    with pytest.raises(BrokenBase64OrUrl):
        check_url(url.replace("10.1.2.3/", "10.1.2.3:81/"), policy())
    check_url(url, policy(allow))


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1:8123", "http://127.0.0.1/"),
        ("127.0.0.1:8123", "http://127.0.0.1:8124/"),
        ("127.0.0.1:8123", "http://127.0.0.2:8123/"),
        ("127.0.0.1:8123", "ftp://127.0.0.1:8123/"),
        ("127.0.0.1:8123", "http://a@127.0.0.1:8123/"),
        ("127.0.0.1:8123", "http://8.8.8.8:8123/"),
        ("10.0.0.0/8", "http://11.0.0.1:8080/"),
        ("files.internal:8080", "http://files.internal:8081/"),
        ("files.internal", "http://other.internal:8080/"),
        ("files.internal", "http://a.files.internal:8080/"),
        ("files.internal", "http://127.0.0.1/"),
    ],
)
def test_the_allow_list_lets_nothing_else_pass(allow: str, url: str) -> None:
    with pytest.raises(BrokenBase64OrUrl):
        check_url(url, policy(allow))


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "300.1.1.1",
        "127.1",
        "host:0",
        "host:65536",
        "host:port",
        "host:",
        "http://host",
        "host/path",
        "user@host",
        "two words",
        "[::1",
        "[::1]9000",
        "[]:80",
        "1:2:3",
        "*.internal",
        "a..b",
    ],
)
def test_a_bad_entry_of_the_allow_list_is_named_in_one_line(entry: str) -> None:
    with pytest.raises(ValueError, match="allow-list entry") as caught:
        AllowList.parse(f"10.0.0.0/8, {entry}")
    assert repr(entry) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_setting_allows_nothing() -> None:
    assert AllowList.parse(" , ") == AllowList()


def test_judging_imports_no_http_client() -> None:
    code = (
        "import sys, download.address, download.policy;"
        "sys.exit(any(name in sys.modules for name in ('requests', 'urllib3')))"
    )
    paths = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=paths, check=False).returncode == 0
