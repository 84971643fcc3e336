"""How clients write URLs, and what is asked for: a kind in a row, each with its examples.

The titles are those of the table in docs/what-is-accepted.md. HOST stands for a host and port that
a test fills in.
"""

from __future__ import annotations

#: By the kind: what was given, and the path and query of the request.
PATHS: dict[str, list[tuple[str, str]]] = {
    "blanks, line breaks or a byte order mark around the URL": [
        (" http://HOST/a.jpg", "/a.jpg"),
        ("http://HOST/a.jpg \t", "/a.jpg"),
        ("http://HOST/a.jpg\r\n", "/a.jpg"),
        ("\ufeffhttp://HOST/a.jpg", "/a.jpg"),
        ("\u3000http://HOST/a.jpg\u00a0", "/a.jpg"),
    ],
    "blanks inside": [
        ("http://HOST/my boot.jpg?a=b c", "/my%20boot.jpg?a=b%20c"),
        ("http://HOST/a\u3000b.jpg", "/a%E3%80%80b.jpg"),
        ("http://HOST/a\u00a0b.jpg", "/a%C2%A0b.jpg"),
    ],
    "letters that are not ASCII": [
        ("http://HOST/图.jpg?名=靴", "/%E5%9B%BE.jpg?%E5%90%8D=%E9%9D%B4"),
        ("http://HOST/é👢.jpg", "/%C3%A9%F0%9F%91%A2.jpg"),
        ("http://HOST/e\u0301.jpg", "/e%CC%81.jpg"),
    ],
    'one of `"<>^{}`, a bar or a backtick': [
        ('http://HOST/"a"<b>?c=^{d}', "/%22a%22%3Cb%3E?c=%5E%7Bd%7D"),
        ("http://HOST/a|b`c?d|e", "/a%7Cb%60c?d%7Ce"),
    ],
    "escapes, needed or not": [
        ("http://HOST/%7Ea%2Db?sig=%c3%2f%2F%3D", "/%7Ea%2Db?sig=%c3%2f%2F%3D"),
        ("http://HOST/~a-b?sig=%41", "/~a-b?sig=%41"),
        ("http://HOST/a%20b?c+d", "/a%20b?c+d"),
        ("http://HOST/%E5%9b%be.jpg", "/%E5%9b%be.jpg"),
        ("http://HOST/a%00b%0d%0Ac", "/a%00b%0d%0Ac"),
    ],
    "a `%` that begins no escape": [
        ("http://HOST/100%.jpg?50%zz&%", "/100%.jpg?50%zz&%"),
        ("http://HOST/%%41 %", "/%%41%20%"),
    ],
    "marks that need no escape": [
        ("http://HOST/a[1]!$&'()*+,;=:@b?[c]/?:@'~", "/a[1]!$&'()*+,;=:@b?[c]/?:@'~"),
        ("http://HOST//a//b;v=1;?&&x=&", "//a//b;v=1;?&&x=&"),
        ("http://HOST/a.jpg?http://b.test/c d", "/a.jpg?http://b.test/c%20d"),
    ],
    "no path, an empty query": [
        ("http://HOST", "/"),
        ("http://HOST?a=1", "/?a=1"),
        ("http://HOST/a?", "/a?"),
        ("http://HOST/a;?", "/a;?"),
    ],
    "a fragment": [
        ("http://HOST/a.jpg#part", "/a.jpg"),
        ("http://HOST/a.jpg?b#part?c", "/a.jpg?b"),
        ("http://HOST#/b", "/"),
    ],
    "dot segments": [
        ("http://HOST/a/../b/./c.jpg", "/b/c.jpg"),
        ("http://HOST/../../a/..", "/"),
        ("http://HOST/a/b/.?../c", "/a/b/?../c"),
        ("http://HOST/a/...//.b/..c", "/a/...//.b/..c"),
    ],
    "dot segments that are escaped": [
        ("http://HOST/a/%2e%2E/b/%2e/c", "/a/%2e%2E/b/%2e/c"),
    ],
}

#: By the kind: the host that was given, and the one that is looked up and named in the request.
HOSTS: dict[str, list[tuple[str, str]]] = {
    "a host that is not ASCII": [
        ("Bücher.test", "xn--bcher-kva.test"),
        ("商店.中国", "xn--czrs0t.xn--fiqs8s"),
        ("ＳＨＯＰ。test", "shop.test"),
        ("straße.test", "xn--strae-oqa.test"),
    ],
    "a host with emoji or other symbols": [
        ("i❤.test", "xn--i-7iq.test"),
        ("🍕.test", "xn--vi8h.test"),
        ("❤️🍕.bücher.test", "xn--qei9118m.xn--bcher-kva.test"),
        ("→.test", "xn--55g.test"),
    ],
    "a host as its punycode, or in capitals": [
        ("xn--i-7iq.test", "xn--i-7iq.test"),
        ("XN--BCHER-KVA.Test", "xn--bcher-kva.test"),
        ("my_SHOP.test.", "my_shop.test"),
    ],
}

#: By the kind: what is refused before anything is looked up.
REFUSED: dict[str, list[str]] = {
    "a control character or a line break inside, a backslash": [
        "http://HOST/a\tb",
        "http://HOST/a\nb",
        "http://HOST/a\r\nX: y",
        "http://HOST/\x00",
        "http://HOST/a\x7f",
        "http://HOST/a\x85",
        "http://HOST/a\u2028",
        "http://HOST/a\\b",
        "http://HOST/\ud800",
    ],
    "a blank in or beside the host": [
        "http:// HOST/",
        "http://HOST /",
        "http://a b.test/",
        "http://a\u3000b.test/",
    ],
    "a user or a password, another scheme, another port": [
        "http://user@HOST/",
        "http://user:secret@HOST/",
        "ftp://HOST/",
        "file:///etc/passwd",
        "http://a.test:22/",
    ],
}
