"""core.faults: which answers of an API server get which name, Retry-After, causes and message."""

import pytest

from shard_executor.core.faults import RETRY_AFTER_LIMIT, TRANSIENT, Fault, classify_answer, classify_status


def answer(code, reason="", message="", details=None, headers=None):
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
    if details is not None:
        body["details"] = details
    return classify_answer(code, "application/json", headers or {}, body, "")


# Messages as a kube-apiserver 1.36.2 sends them.
@pytest.mark.parametrize(
    ("code", "reason", "message", "fault"),
    [
        (400, "BadRequest", "the object provided is unrecognized", Fault.INVALID),
        (401, "Unauthorized", "Unauthorized", Fault.UNAUTHORIZED),
        (403, "Forbidden", 'pods is forbidden: User "x" cannot list resource "pods"', Fault.NOT_PERMITTED),
        (403, "Forbidden", 'pods "q" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2', Fault.QUOTA),
        (403, "Forbidden", 'pods "q" is forbidden: status unknown for quota: q, resources: pods', Fault.QUOTA),
        (
            403,
            "Forbidden",
            'pods "x" is forbidden: unable to create new content in namespace a because it is being terminated',
            Fault.NAMESPACE_TERMINATING,
        ),
        (401, "Unauthorized", 'admission webhook "x.y" denied the request: who are you', Fault.FORBIDDEN),
        (
            401,
            "Unauthorized",
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            Fault.FORBIDDEN,
        ),
        (404, "", 'admission webhook "x.y" denied the request: budget "b" not found', Fault.FORBIDDEN),
        (400, "", 'admission webhook "x.y" denied the request: no', Fault.INVALID),
        (404, "NotFound", 'pods "nope" not found', Fault.NOT_FOUND),
        (409, "AlreadyExists", 'pods "etl-00001" already exists', Fault.ALREADY_EXISTS),
        (409, "", 'pods "etl-00001" already exists', Fault.ALREADY_EXISTS),
        (409, "Conflict", "the object has been modified; please apply your changes", Fault.CONFLICT),
        (409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q": already exists', Fault.CONFLICT),
        (410, "Expired", "too old resource version: 1 (4437)", Fault.EXPIRED),
        (410, "Gone", "", Fault.EXPIRED),
        (410, "", "", Fault.EXPIRED),
        (500, "Expired", "The resourceVersion for the provided watch is too old.", Fault.EXPIRED),
        (422, "Invalid", 'Pod "Bad_Name" is invalid', Fault.INVALID),
        (413, "RequestEntityTooLarge", "limit is 3145728", Fault.INVALID),
        (429, "TooManyRequests", "", Fault.THROTTLED),
        (500, "InternalError", 'failed calling webhook "x": context deadline exceeded', Fault.SERVER_ERROR),
        (
            500,
            "InternalError",
            "a watch stream was requested by the client but the required storage feature RequestWatchProgress "
            "is disabled",
            Fault.FEATURE_DISABLED,
        ),
        (502, "", "", Fault.UNAVAILABLE),
        (503, "ServiceUnavailable", "", Fault.UNAVAILABLE),
        (504, "Timeout", "request did not complete within the allotted timeout", Fault.UNAVAILABLE),
        (408, "", "", Fault.TIMEOUT),
        (521, "", "", Fault.SERVER_ERROR),
        (302, "", "", Fault.UNKNOWN),
        (418, "", "", Fault.UNKNOWN),
        (12345, "", "", Fault.UNKNOWN),
    ],
)
def test_name_by_code_reason_and_message(code, reason, message, fault):
    info = answer(code, reason, message)
    assert (info.fault, info.status, info.reason) == (fault, code, reason)


@pytest.mark.parametrize(
    "details",
    [
        {"causes": [{"reason": "ResourceVersionTooLarge", "message": "x"}], "retryAfterSeconds": 1},
        {"causes": [{"message": "Too large resource version"}]},
    ],
)
def test_too_large_version_by_its_causes(details):
    assert answer(504, "Timeout", "Timeout", details).fault is Fault.TOO_LARGE_VERSION


def test_too_large_version_by_its_bare_message():
    assert classify_status(504, "Timeout", "Too large resource version: 9, current: 5").fault is Fault.TOO_LARGE_VERSION


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        ({"Retry-After": "5"}, None, 5.0),
        ({"retry-after": " 7 "}, {"retryAfterSeconds": 2}, 7.0),
        ({}, {"retryAfterSeconds": 2}, 2.0),
        ({}, {"retryAfterSeconds": 0}, None),
        ({}, {"retryAfterSeconds": "soon"}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 16:55:05 GMT"}, {"retryAfterSeconds": 3}, 3.0),
        ({"Retry-After": "-4"}, None, None),
        ({"Retry-After": "9999999999999999999999"}, None, RETRY_AFTER_LIMIT),
        ({}, None, None),
    ],
)
def test_retry_after_comes_from_the_header_else_the_body_and_has_a_limit(headers, details, expected):
    assert answer(429, "TooManyRequests", "", details, headers).retry_after == expected


def test_throttling_in_plain_text():
    info = classify_answer(
        429, "text/plain; charset=utf-8", {"Retry-After": "1"}, None, "Too many requests, please try again later.\n"
    )
    assert (info.fault, info.retry_after) == (Fault.THROTTLED, 1.0)
    assert info.message == "Too many requests, please try again later."


@pytest.mark.parametrize("text", ["default backend - 404", "404 page not found\n", "<h1>404 Not Found</h1>", ""])
def test_a_404_in_other_words_than_a_status_says_nothing_about_the_object(text):
    info = classify_answer(404, "text/plain", {}, None, text)
    assert (info.fault, info.status) == (Fault.UNAVAILABLE, 404)
    assert answer(404, "NotFound", 'pods "a" not found').fault is Fault.NOT_FOUND


def test_an_html_page_is_told_by_its_title():
    page = "<html><head><title>502 Bad\n Gateway</title></head><body><h1>nginx</h1></body></html>"
    assert classify_answer(502, "text/html", {}, None, page).message == "502 Bad Gateway"
    assert classify_answer(502, "text/html", {}, None, "<h1>Bad <b>gateway</b></h1><").message == "Bad gateway"


def test_an_empty_body_still_has_a_message():
    assert classify_answer(503, "", {}, None, "").message == "HTTP 503 without a body"


def test_causes_are_readable_and_foreign_shapes_do_no_harm():
    causes = [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}, "odd", {}]
    info = answer(422, "Invalid", "bad", {"causes": causes})
    assert info.causes == ("FieldValueRequired: Required value (spec.containers)", "")
    assert answer(422, "Invalid", "bad", {"causes": 5}).causes == ()
    assert classify_answer(500, "", {}, {"details": "x", "message": None}, "").fault is Fault.SERVER_ERROR


def test_messages_are_one_line_of_bounded_length():
    info = classify_status(500, "", "a\n\tb " + "x" * 10_000)
    assert info.message.startswith("a b xxx")
    assert len(info.message) == 1000
    assert str(info).startswith("server-error (500): a b")


def test_what_needs_a_person_is_not_transient():
    assert TRANSIENT.isdisjoint(
        {Fault.UNAUTHORIZED, Fault.FORBIDDEN, Fault.QUOTA, Fault.NAMESPACE_TERMINATING, Fault.INVALID, Fault.NOT_FOUND}
    )
    assert Fault.THROTTLED in TRANSIENT
