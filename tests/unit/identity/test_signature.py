"""The signature of a request: the known answer, its form, and that no byte can be changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.signature import (
    ALGORITHMS,
    Authorization,
    AuthorizationError,
    Request,
    SignatureError,
    parse_authorization,
    parse_date,
    signature_of,
    signing_key,
    verify,
)

SECRET = "TESTSK"
KNOWN_KEY = "a4e50bcb6001be0008696b173c30172b5ce22a77db00d21c6a9d69de2ba33b7d"
KNOWN_SIGNATURE = "2a98f83c074e7bee260bfc8ef64f009c07595bd93f7f0c3f4e156bf6479ed9bf"
KNOWN_TEXT = (
    "JDCLOUD2-HMAC-SHA256 Credential=TESTAK/20190214/cn-north-1/test/jdcloud2_request, "
    "SignedHeaders=x-jdcloud-date;x-jdcloud-nonce;x-my-header;x-my-header_blank, "
    f"Signature={KNOWN_SIGNATURE}"
)
HEADERS = {
    "x-jdcloud-date": b"20190214T104514Z",
    "x-jdcloud-nonce": b"testnonce",
    "x-my-header": b"test",
    "x-my-header_blank": b" blank",
}


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def known(query: bytes = b"p1=p1&p0=p0&o=%&u=u") -> Request:
    return Request("POST", b"/v1/resource:action?" + query, HEADERS, digest(b"body data"))


def refuses(request: Request, authorization: Authorization, secret: str = SECRET) -> bool:
    try:
        verify(request, authorization, secret)
    except SignatureError:
        return True
    return False


def signed(request: Request, authorization: Authorization, secret: str = SECRET) -> Authorization:
    return replace(authorization, signature=signature_of(request, authorization, secret))


@pytest.mark.parametrize("query", [b"p1=p1&p0=p0&o=%&u=u", b"p1=p1&p0=p0&o=%25&u=u"])
def test_the_known_answer_is_ours_whichever_way_the_query_was_sent(query: bytes) -> None:
    authorization = parse_authorization(KNOWN_TEXT)
    assert signing_key(authorization, "TESTSK").hex() == KNOWN_KEY
    assert signature_of(known(query), authorization, "TESTSK") == KNOWN_SIGNATURE
    verify(known(query), authorization, "TESTSK")


def test_another_secret_or_algorithm_is_another_signature() -> None:
    authorization = parse_authorization(KNOWN_TEXT)
    assert refuses(known(), authorization, "TESTSL")
    newer = parse_authorization(KNOWN_TEXT.replace("JDCLOUD2", "JDCLOUD3").replace("d2_r", "d3_r"))
    assert refuses(known(), newer)
    made = signed(known(), newer)
    assert made.signature != KNOWN_SIGNATURE
    verify(known(), made, "TESTSK")


def test_each_algorithm_has_its_own_end_of_the_scope() -> None:
    for algorithm in ALGORITHMS:
        for terminator in ("jdcloud2_request", "jdcloud3_request", "aws4_request"):
            scoped = replace(
                parse_authorization(KNOWN_TEXT), algorithm=algorithm, terminator=terminator
            )
            is_right = terminator[7] == algorithm[7]
            assert refuses(known(), signed(known(), scoped)) is not is_right


@pytest.mark.parametrize("name", ["x-jdcloud-date", "x-jdcloud-nonce"])
def test_date_and_nonce_need_not_be_among_the_signed_headers(name: str) -> None:
    authorization = parse_authorization(KNOWN_TEXT)
    names = tuple(n for n in authorization.signed_headers if n != name)
    fewer = signed(known(), replace(authorization, signed_headers=names))
    verify(known(), fewer, SECRET)
    assert fewer.signs_nonce == (name != "x-jdcloud-nonce")


def test_a_date_that_is_not_among_the_signed_headers_is_signed_all_the_same() -> None:
    few = replace(parse_authorization(KNOWN_TEXT), signed_headers=("x-my-header",))
    authorization = signed(known(), few)
    later = replace(known(), headers=HEADERS | {"x-jdcloud-date": b"20190214T104515Z"})
    assert refuses(later, authorization)


def test_runs_of_blanks_inside_a_value_are_good_as_they_are_and_as_one() -> None:
    authorization = parse_authorization(KNOWN_TEXT)
    wide = replace(known(), headers=HEADERS | {"x-my-header": b" a  b \t c "})
    narrow = replace(known(), headers=HEADERS | {"x-my-header": b"a b c"})
    verify(wide, signed(wide, authorization), SECRET)
    verify(wide, signed(narrow, authorization), SECRET)
    other = replace(known(), headers=HEADERS | {"x-my-header": b"ab c"})
    assert refuses(wide, signed(other, authorization))
    assert refuses(narrow, signed(wide, authorization)), "blanks that were not sent"


@pytest.mark.parametrize("nonce", [b"", b" "])
def test_a_nonce_must_be_something(nonce: bytes) -> None:
    request = replace(known(), headers=HEADERS | {"x-jdcloud-nonce": nonce})
    assert refuses(request, signed(request, parse_authorization(KNOWN_TEXT)))


def test_a_signed_header_that_was_not_sent_is_refused() -> None:
    headers = {name: value for name, value in HEADERS.items() if name != "x-my-header"}
    assert refuses(replace(known(), headers=headers), parse_authorization(KNOWN_TEXT))


def test_a_header_signed_twice_is_refused() -> None:
    authorization = parse_authorization(KNOWN_TEXT.replace("x-my-header;", "x-my-header;" * 2))
    assert refuses(known(), signed(known(), authorization))


@pytest.mark.parametrize("day", ["20190213", "20190215", "2019021", "20190214T"])
def test_the_credential_is_of_the_day_of_the_date(day: str) -> None:
    authorization = replace(parse_authorization(KNOWN_TEXT), date=day)
    assert refuses(known(), signed(known(), authorization))


def test_header_names_count_in_any_order_and_case() -> None:
    text = KNOWN_TEXT.replace("x-jdcloud-date;x-jdcloud-nonce", "X-Jdcloud-Nonce;X-Jdcloud-Date")
    verify(known(), parse_authorization(text), "TESTSK")


def test_blanks_between_the_parts_do_not_matter() -> None:
    for text in (KNOWN_TEXT.replace(", ", ","), KNOWN_TEXT.replace(", ", " ,  ")):
        assert parse_authorization(text) == parse_authorization(KNOWN_TEXT)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "Basic YTpi", "JDCLOUD2-HMAC-SHA256", "JDCLOUD2-HMAC-SHA256 "),
        KNOWN_TEXT.replace("JDCLOUD2-", "JDCLOUD1-"),
        KNOWN_TEXT.replace("JDCLOUD2-", "jdcloud2-"),
        KNOWN_TEXT.replace("SHA256 ", "SHA256\t"),
        KNOWN_TEXT.rpartition(",")[0],
        KNOWN_TEXT.replace(KNOWN_SIGNATURE, ""),
        KNOWN_TEXT.replace("Credential=TESTAK", "Credential="),
        KNOWN_TEXT.replace("/test/", "/"),
        KNOWN_TEXT.replace("/test/", "/te/st/"),
        KNOWN_TEXT.replace("Signature=", "Signatur="),
        KNOWN_TEXT + ", Signature=" + KNOWN_SIGNATURE,
        KNOWN_TEXT + ", More=1",
        KNOWN_TEXT + ",",
    ],
)
def test_what_is_not_of_the_form_is_no_authorization(text: str) -> None:
    with pytest.raises(AuthorizationError):
        parse_authorization(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    for tried in (text, f"JDCLOUD2-HMAC-SHA256 {text}"):
        try:
            parse_authorization(tried)
        except AuthorizationError:
            continue


def test_a_date_is_read_as_utc() -> None:
    assert parse_date("20190214T104514Z") == datetime(2019, 2, 14, 10, 45, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "20190214", "20190214T104514", "20190214t104514z", "20190214T104514Z "),
        *("20191314T104514Z", "20190230T104514Z", "20190214T246060Z", "2019-02-14T10:45:14Z"),
        "٢٠١٩٠٢١٤T104514Z",
    ],
)
def test_another_date_is_malformed(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_date(text)


# What may stand in a target besides the escapes, whose spellings mean the same.
PATH_BYTES = b"abcXYZ019-_.~:@!$'()*,;=+"
QUERY_BYTES = PATH_BYTES + b"/?"
VALUE_BYTES = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))


def some_of(alphabet: bytes, least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(sorted(alphabet)), min_size=least, max_size=most).map(bytes)


REQUESTS = st.builds(
    lambda method, path, query, nonce, extra, body: (
        Request(
            method,
            b"/" + path + (b"?" + query if query else b""),
            HEADERS | {"x-jdcloud-nonce": nonce, "x-my-header": extra},
            digest(body),
        ),
        body,
    ),
    st.sampled_from(["POST", "GET"]),
    some_of(PATH_BYTES + b"/", 1, 30),
    st.lists(
        st.tuples(some_of(b"abc019", 1, 5), some_of(QUERY_BYTES, 1, 8)), min_size=1, max_size=3
    ).map(lambda pairs: b"&".join(name + b"=" + value for name, value in pairs)),
    some_of(VALUE_BYTES, 1, 40),
    some_of(VALUE_BYTES, 1, 40),
    st.binary(min_size=1, max_size=100),
)


def changed(data: st.DataObject, text: bytes, alphabet: bytes) -> bytes:
    """Return `text` with one byte replaced by another of the alphabet."""
    position = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(sorted(set(alphabet) - {text[position]})))
    return text[:position] + bytes([other]) + text[position + 1 :]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), made=REQUESTS, algorithm=st.sampled_from(sorted(ALGORITHMS)))
def test_a_change_of_any_byte_is_refused(
    data: st.DataObject, made: tuple[Request, bytes], algorithm: str
) -> None:
    request, body = made
    scope = replace(
        parse_authorization(KNOWN_TEXT), algorithm=algorithm, terminator=ALGORITHMS[algorithm][1]
    )
    authorization = signed(request, scope)
    verify(request, authorization, "TESTSK")
    path, mark, query = request.target.partition(b"?")
    headers = request.headers
    others = {
        "method": replace(
            request, method=changed(data, request.method.encode(), b"PTQRX").decode()
        ),
        "path": replace(request, target=b"/" + changed(data, path[1:], PATH_BYTES) + mark + query),
        "query": replace(request, target=path + mark + changed(data, query, QUERY_BYTES + b"&")),
        "body": replace(request, body_digest=digest(changed(data, body, bytes(range(256))))),
        **{
            name: replace(
                request, headers={**headers, name: changed(data, headers[name], VALUE_BYTES)}
            )
            for name in ("x-jdcloud-date", "x-jdcloud-nonce", "x-my-header")
        },
    }
    accepted = [name for name, other in others.items() if not refuses(other, authorization)]
    assert accepted == []


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_change_of_any_byte_of_the_authorization_is_refused(data: st.DataObject) -> None:
    text = KNOWN_TEXT.encode()
    # The names of signed headers count in either case, and one blank more is none.
    start = text.index(b"SignedHeaders")
    position = data.draw(
        st.sampled_from([p for p in range(len(text)) if p < start or p > text.rindex(b", Sig")])
    )
    if text[position : position + 1] in b" ":
        return
    other = data.draw(st.sampled_from(sorted(set(VALUE_BYTES) - {text[position]})))
    tampered = (text[:position] + bytes([other]) + text[position + 1 :]).decode("latin-1")
    try:
        authorization = parse_authorization(tampered)
    except AuthorizationError:
        return
    if authorization.access_key != "TESTAK":
        return  # a key of another user, or an unknown one
    assert refuses(known(), authorization)


def test_one_meaning_of_a_target_has_one_signature_and_two_have_two() -> None:
    def of(target: bytes) -> str:
        request = replace(known(), target=target)
        return signature_of(request, parse_authorization(KNOWN_TEXT), "TESTSK")

    same = [(b"/a%62c", b"/abc"), (b"/a?x=%7e", b"/a?x=~"), (b"/a?x=1&y=2", b"/a?y=2&x=1")]
    same += [(b"/a?x", b"/a?x="), (b"/a?x=a+b", b"/a?x=a%20b"), (b"/a?x=%E5", b"/a?x=\xe5")]
    assert [pair for pair in same if of(pair[0]) != of(pair[1])] == []
    unlike = [(b"/a+b", b"/a%20b"), (b"/a?x=a+b", b"/a?x=a%2Bb"), (b"/a%3Fx", b"/a?x")]
    unlike += [(b"/a?x=1&&y=2", b"/a?x=1&y=2"), (b"/a?x=1%26y=2", b"/a?x=1&y=2")]
    unlike += [(b"//a", b"/a"), (b"/a/", b"/a"), (b"/a#b", b"/a"), (b"/a?x=1", b"/a?X=1")]
    assert [pair for pair in unlike if of(pair[0]) == of(pair[1])] == []
