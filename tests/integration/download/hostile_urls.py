"""Hostile URLs, and names with hostile answers; nothing here needs a server that speaks.

127.0.0.2 is the address that no download may reach; PORT is open for it, so that only its
address can be what refuses it. TRAP would answer, were it not for what else is wrong.
"""

from __future__ import annotations

from tests.integration.download.hostile_world import FORBIDDEN, PUBLIC, Hostile

#: One address in every spelling that some parser or C library reads.
IPV4 = {
    "dotted": "127.0.0.2",
    "dotted with an end": "127.0.0.2.",
    "decimal": "2130706434",
    "octal": "017700000002",
    "hexadecimal": "0x7f000002",
    "hexadecimal in capitals": "0X7F000002",
    "short": "127.2",
    "three parts": "127.0.2",
    "hexadecimal parts": "0x7f.0x0.0x0.0x2",
    "octal parts": "0177.0.0.02",
    "mixed parts": "0177.0x0.2",
    "padded with zeros": "0000000177.0.0.2",
    "full-width digits": "１２７.０.０.２",
    "circled digits": "①②⑦.0.0.②",
    "raised digits": "¹²⁷.0.0.²",
    "mathematical digits": "𝟏𝟐𝟕.𝟎.𝟎.𝟐",
    "ideographic stops": "127。0。0。2",
    "half-width stops": "127｡0｡0｡2",
    "a soft hyphen": "127.0.0\u00ad.2",
    "a space of no width": "127.0.0.\u200b2",
    "percent-encoded digits": "%31%32%37.0.0.2",
    "percent-encoded stops": "127%2e0%2e0%2e2",
    "more than 32 bits": "6425673730",
    "a part of more than eight bits": "383.0.0.2",
    "a fifth part": "127.0.0.2.0",
    "a zero byte behind it": "127.0.0.2%00.public.test",
    "zero": "0",
    "zeros": "0.0.0.0",  # noqa: S104  # it is not bound
    "broadcast": "255.255.255.255",
    "multicast": "224.0.0.1",
    "metadata of clouds": "169.254.169.254",
    "metadata of one cloud": "100.100.100.200",
    "a cloud's own server": "168.63.129.16",
    "private, class A": "10.0.0.1",
    "private, class B": "172.16.0.1",
    "private, class C": "192.168.0.1",
}
IPV6 = {
    "loopback": "::1",
    "loopback in full": "0:0:0:0:0:0:0:1",
    "loopback with a scope": "::1%25lo",
    "unspecified": "::",
    "mapped": "::ffff:127.0.0.2",
    "mapped in hexadecimal": "::ffff:7f00:2",
    "mapped in full": "0:0:0:0:0:ffff:127.0.0.2",
    "mapped with a scope": "::ffff:127.0.0.2%251",
    "compatible": "::127.0.0.2",
    "translated": "::ffff:0:127.0.0.2",
    "NAT64": "64:ff9b::127.0.0.2",
    "NAT64 in hexadecimal": "64:ff9b::7f00:2",
    "NAT64 of local use": "64:ff9b:1::127.0.0.2",
    "6to4": "2002:7f00:2::1",
    "Teredo server": "2001:0:7f00:2::f7f7:f7f7",
    "Teredo client": "2001:0:808:808::80ff:fffd",
    "link-local with a scope": "fe80::1%25lo",
    "link-local with a bare scope": "fe80::1%lo",
    "site-local": "fec0::1",
    "unique local": "fd00::1",
    "metadata of a cloud": "fd00:ec2::254",
    "multicast": "ff02::1",
    "documentation": "2001:db8::1",
    "of the future": "v1.x",
    "a name in brackets": "public.test",
}
#: Each would be fetched from the trap by a client that read it generously.
OTHER_FORMS = {
    "user": f"http://user@{PUBLIC}:TRAP/",
    "user and password": f"http://user:secret@{PUBLIC}:TRAP/",
    "empty user": f"http://@{PUBLIC}:TRAP/",
    "a public host as the user": f"http://public.test:PORT@{PUBLIC}:TRAP/",
    "two at signs": f"http://a@public.test:PORT@{PUBLIC}:TRAP/",
    "an encoded at sign": f"http://public.test%40{PUBLIC}:TRAP/",
    "a backslash before an at sign": f"http://{PUBLIC}:TRAP\\@public.test:PORT/",
    "a backslash behind the host": f"http://public.test:PORT\\@{PUBLIC}:TRAP/",
    "backslashes for slashes": f"http:\\\\{PUBLIC}:TRAP\\",
    "a slash and a backslash": f"http:/\\{PUBLIC}:TRAP/",
    "blanks around a forbidden address": f" http://{FORBIDDEN}:PORT/\u00a0\n",
    "a byte order mark before a forbidden address": f"\ufeffhttp://{FORBIDDEN}:PORT/",
    "a space before the host": f"http:// {PUBLIC}:TRAP/",
    "a space before the port": f"http://{PUBLIC}: TRAP/",
    "a space behind the port": f"http://{PUBLIC}:TRAP /",
    "a space that does not break in the host": f"http://{PUBLIC}\u00a0:TRAP/",
    "a space in the host": f"http://public.test {PUBLIC}:TRAP/",
    "a tab in the scheme": f"ht\ttp://{PUBLIC}:TRAP/",
    "a tab in the host": "http://127.0.\t0.1:TRAP/",
    "a line end in the host": "http://127.0.\n0.1:TRAP/",
    "a line end in the path": f"http://{PUBLIC}:TRAP/a\nb",
    "a tab in the path": f"http://{PUBLIC}:TRAP/a\tb",
    "a header in the path": f"http://{PUBLIC}:TRAP/ HTTP/1.1\r\nX: y",
    "a zero byte": f"http://{PUBLIC}:TRAP/\x00",
    "a control character": f"http://{PUBLIC}:TRAP/\x7f",
    "a separator of lines": f"http://{PUBLIC}:TRAP/\u2028",
    "half a character": f"http://{PUBLIC}:TRAP/\ud800",
    "too long": f"http://{PUBLIC}:TRAP/" + "a" * 8192,
    "no slashes": f"http:{PUBLIC}:TRAP/",
    "one slash": f"http:/{PUBLIC}:TRAP/",
    "three slashes": f"http:///{PUBLIC}:TRAP/",
    "no scheme": f"//{PUBLIC}:TRAP/",
    "host alone": f"{PUBLIC}:TRAP/",
    "no host": "http://:TRAP/",
    "a bracket that stays open": "http://[::1:TRAP/",
    **{
        f"scheme {scheme}": f"{scheme}://{PUBLIC}:TRAP/a"
        for scheme in (
            *("ftp", "gopher", "dict", "ldap", "tftp", "sftp", "ws", "rtsp", "httpx"),
            *("http+unix", "jar:http", "view-source:http", "url:http", "blob:http", "feed:http"),
        )
    },
    "scheme file": "file:///etc/passwd",
    "scheme file with a host": f"file://{PUBLIC}:TRAP/etc/passwd",
    "scheme data": "data:image/png;base64,iVBORw0KGgo=",
    "scheme javascript": "javascript:alert(1)",
    "a port that is not open": f"http://{PUBLIC}:OTHER/",
    "a port that is not open, by name": "http://public.test:OTHER/",
    "a port that is not open, by https": "https://public.test:OTHER/",
    "port 0": "http://public.test:0/",
    "port 22": "http://public.test:22/",
    "port 6379": "http://public.test:6379/",
    "port 27017": "http://public.test:27017/",
    "a port beyond the last": "http://public.test:65616/",
    "a port below the first": "http://public.test:-80/",
    "a port with a sign": f"http://{PUBLIC}:+TRAP/",
    "a port in full-width digits": "http://public.test:８０/",
}
#: What names answer; the public address is allowed, so that one of two is.
ANSWERS = {
    "inside": [FORBIDDEN],
    "inside and public": [FORBIDDEN, PUBLIC],
    "public and inside": [PUBLIC, FORBIDDEN],
    "public and inside, IPv6": [PUBLIC, "::1"],
    "nineteen public and one inside": [PUBLIC] * 19 + [FORBIDDEN],
    "loopback": ["::1"],
    "unspecified": ["0.0.0.0"],  # noqa: S104  # it is not bound
    "mapped": ["::ffff:127.0.0.2"],
    "scoped": ["fe80::1%lo"],
    "loopback with a scope": ["::1%lo"],
    "NAT64": ["64:ff9b::7f00:2"],
    "NAT64 of local use": ["64:ff9b:1::7f00:2"],
    "6to4": ["2002:7f00:2::1"],
    "Teredo": ["2001:0:808:808::80ff:fffd"],
    "metadata": ["169.254.169.254"],
    "private": ["10.96.0.1"],
    "no address": [],
}
NAMES = ("localhost", "redis", "metadata.google.internal", "127.0.0.2.nip.test", "xn--a-ecp.test")

URLS: dict[str, Hostile] = {
    **{f"IPv4: {title}": Hostile(f"http://{host}:PORT/") for title, host in IPV4.items()},
    **{f"IPv6: {title}": Hostile(f"http://[{host}]:PORT/") for title, host in IPV6.items()},
    "https: dotted": Hostile("https://127.0.0.2:PORT/"),
    "https: mapped": Hostile("https://[::ffff:127.0.0.2]:PORT/"),
    **{f"form: {title}": Hostile(url) for title, url in OTHER_FORMS.items()},
    **{
        f"name: {title}": Hostile("http://in.test:PORT/", names={"in.test": [answer]})
        for title, answer in ANSWERS.items()
    },
    **{
        f"name: {name}": Hostile(f"http://{name}:PORT/", names={name: [[FORBIDDEN]]})
        for name in NAMES
    },
    "name: DNS that never answers": Hostile("http://silent.test:PORT/"),
}
