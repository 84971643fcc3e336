"""How hosts redirect, and where it leads: a kind in a row, each with its examples.

The titles are those of the table in docs/what-is-accepted.md. The word HOST in a Location stands
for the host and port of the server itself.
"""

from __future__ import annotations

#: Locations, and the path that is asked for next; the first request is for /a/b?c.
FOLLOWED: dict[str, list[tuple[bytes, str]]] = {
    "`Location` with blanks, UTF-8 or GBK in it": [
        (b"  http://HOST/my boot.jpg \t", "/my%20boot.jpg"),
        (b"http://HOST/a.jpg?b=c d  ", "/a.jpg?b=c%20d"),
        ("http://HOST/图.jpg?名=靴".encode(), "/%E5%9B%BE.jpg?%E5%90%8D=%E9%9D%B4"),
        ("http://HOST/图.jpg?名=靴".encode("gbk"), "/%CD%BC.jpg?%C3%FB=%D1%A5"),
        ("http://HOST/誠.jpg".encode("big5"), "/%B8%DB.jpg"),
        (b"http://HOST/\x81\\.jpg", "/%81%5C.jpg"),
        (b"/caf\xe9.jpg", "/caf%E9.jpg"),
        ("/\ufeffa\u3000b.jpg\u3000".encode(), "/%EF%BB%BFa%E3%80%80b.jpg"),
        (b"http://HOST/\r\n\ta.jpg", "/%20a.jpg"),
    ],
    "`Location` with escapes of its own": [
        (b"http://HOST/%7Ea%2db?sig=%c3%2f%", "/%7Ea%2db?sig=%c3%2f%"),
        (b"/a;v=;?", "/a;v=;?"),
        (b"/a?b#c", "/a?b"),
    ],
    "`Location` relative to the URL": [
        (b"//HOST/x", "/x"),
        (b"/x/y?z", "/x/y?z"),
        (b"x?y", "/a/x?y"),
        (b"./x", "/a/x"),
        (b"../x/./y", "/x/y"),
        (b"../../..", "/"),
        (b"?x", "/a/b?x"),
        (b"http:x", "/a/x"),
        (b"HTTP:/x", "/x"),
        (b"x/http://y", "/a/x/http://y"),
    ],
    "`Location` twice, the same": [(b"/x\r\nLocation: /x", "/x")],
}
#: Locations that lead nowhere.
REFUSED: dict[str, list[bytes]] = {
    "`Location` of a forbidden URL, or with a control character or a backslash": [
        b"http://127.0.0.2/",
        b" http://127.0.0.2:80/ ",
        b"file:///etc/passwd",
        b"http://user@HOST/",
        b"/a\tb",
        b"/a\x7fb",
        "/a\u2028b".encode(),
        b"/a\\b",
        b"\\\\HOST\\",
        b"http:///HOST/",
        b"https:x",
    ],
    "`Location` with bytes in its host that are not UTF-8": [
        b"http://\xcd\xbc.test/",
        b"//\xff\xfe/",
        b"http://\x81\\@HOST/",
    ],
    "`Location` twice, and different": [b"/x\r\nLocation: /y"],
    "a redirect without `Location`": [b""],
}
KINDS = {
    *FOLLOWED,
    *REFUSED,
    "up to five redirects",
    "a sixth redirect, or one from https to http",
    "`Set-Cookie` with a redirect",
}
