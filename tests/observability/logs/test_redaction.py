"""Secrets leave no text and no data; what only looks a little like one stays readable."""

import time

import pytest

from parquedb.observability.logs.redaction import MASK, SECRETS_MAX, Redactor

CANARY = "cAnArY/7f3+Zq=Kk0"


@pytest.fixture
def hiding() -> Redactor:
    made = Redactor()
    made.hide(CANARY)
    made.hide_fields(["ssn", "diagnosis"])
    return made


@pytest.mark.parametrize(
    "text",
    [
        f"the store said {CANARY}",
        "the store said cAnArY%2F7f3%2BZq%3DKk0",
        f"no answer from http://ada:{CANARY}@host:9000/bucket",
    ],
)
def test_a_secret_that_this_process_knows_is_hidden_wherever_it_turns_up(hiding, text):
    assert "cAnArY" not in hiding.text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ada:pass%20word@host:9000/b", "http://***@host:9000/b"),
        ("s3://key:se/cret@bucket/prefix", "s3://***@bucket/prefix"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("{'Authorization': 'Basic YWRhOnNlY3JldA=='}", "{'Authorization': ***}"),
        (
            "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/s3, Signature=fe5f\nHost: h",
            "authorization: ***\nHost: h",
        ),
        ("curl -H 'bearer abcdefghijkl'", "curl -H 'bearer ***'"),
        ("password=hunter2&user=ada", "password=***&user=ada"),
        ('{"aws_secret_access_key": "abc", "region": "eu"}', '{"aws_secret_access_key": ***, "region": "eu"}'),
        ("Settings(secret='abc', url='./data')", "Settings(secret=***, url='./data')"),
        (
            "GET /b?X-Amz-Signature=0a1b&X-Amz-Credential=me HTTP",
            "GET /b?X-Amz-Signature=***&X-Amz-Credential=*** HTTP",
        ),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.SflKxw", "token ***"),
        ("shown pqg1.eyJ4IjoxfQ-_ab, twice", "shown ***, twice"),
        ("InvalidAccessKeyId: AKIAIOSFODNN7EXAMPLE", "InvalidAccessKeyId: ***"),
        ("<AWSAccessKeyId>me</AWSAccessKeyId><Key>k</Key>", "<AWSAccessKeyId>***</AWSAccessKeyId><Key>k</Key>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- after", "*** after"),
        ("s3://ada@example.org:hunter2@host/b", "s3://***@host/b"),
        (
            r'{"arguments": "{\"password\": \"hunter2 is it\", \"n\": 1}"}',
            r'{"arguments": "{\"password\": ***, \"n\": 1}"}',
        ),
        (r"""{\\\"token\\\": \\\"a \\\\\\\" b\\\", \\\"n\\\": 1}""", r"""{\\\"token\\\": ***, \\\"n\\\": 1}"""),
        ("{'password': b'hunter2 is it', 'n': 1}", "{'password': ***, 'n': 1}"),
        ('{"n": 1, "password": "hunter2 is', '{"n": 1, "password": ***'),
        ("credentials={'s3': {'key': 'abc', 'id': 'me'}, 'n': 1} end", "credentials=*** end"),
        ("secrets=['a', ['b', 'c'], 'd'] cookies: {'sid': 'abc'}", "secrets=*** cookies: ***"),
        ("Client(token=Secret('abc'), n=1)", "Client(token=***, n=1)"),
        ("expected {'ssn': '078-05-1120', 'age': 4}", "expected {'ssn': ***, 'age': 4}"),
        ("ssn=078-05-1120 diagnosis: ['a', 'b'] ssn: {'x': 1}", "ssn=*** diagnosis: *** ssn: ***"),
    ],
)
def test_a_secret_is_known_by_its_name_or_its_shape(hiding, text, shown):
    assert hiding.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "namespace posts: another owner took over epoch 7",
        "input_tokens=512, output_tokens: 80",
        "read of 'posts/log/00ff' failed: HTTP 503 (SlowDown)",
        "s3://bucket/prefix and http://host:9000/bucket",
        "key='posts/manifest/1' request_id='0a.b.3'",
        "fields assn=1 and ssnx=2 and session_idle_s=3",
    ],
)
def test_ordinary_text_stays_as_it_is(hiding, text):
    assert hiding.text(text) is text


def test_data_is_searched_at_any_depth_and_keeps_its_numbers(hiding):
    data = {"a": [{"ssn": 5, "n": 1}], "Api-Key": "x", "rows": 3, "share": 0.5, "why": f"got {CANARY}", "token": None}
    assert hiding.value(data) == {
        "a": [{"ssn": MASK, "n": 1}],
        "Api-Key": MASK,
        "rows": 3,
        "share": 0.5,
        "why": "got ***",
        "token": None,
    }


@pytest.mark.parametrize(
    "name", ["accessToken", "dbPassword", "cookies", "AWS_SECRET_ACCESS_KEY", "x-api-key", "a\ntoken"]
)
def test_a_field_is_known_by_its_name_however_that_is_spelled(hiding, name):
    assert hiding.value({name: "hunter2 is it", "maxTokens": "5"}) == {name: MASK, "maxTokens": "5"}


def test_an_argument_without_secrets_keeps_its_type(hiding):
    for argument in (7, {"n": 1}, [{1}], ValueError("plain")):
        assert hiding.argument(argument) is argument
    assert hiding.argument({"ssn": {"a": {"b": 1}}}) == {"ssn": MASK}


def test_a_short_value_is_left_to_the_other_nets():
    hiding = Redactor()
    hiding.hide("test", None, "")
    assert hiding.text("a test, secret=test") == "a test, secret=***"


def test_of_a_secret_that_begins_like_another_one_nothing_is_left_over():
    hiding = Redactor()
    hiding.hide("password-1", "password-1-and-more")
    assert hiding.text("got password-1-and-more") == "got ***"


def test_the_environments_secrets_are_hidden():
    hiding = Redactor()
    hiding.hide_environment(
        {
            "AWS_SECRET_ACCESS_KEY": "one-secret-value",
            "AWS_SESSION_TOKEN": "two-secret-value",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-team=some-team-name, x-tenant=three-secret",
            "PARQUEDB_ACCESS__KEYS": "four-secret-value, five-secret-value",
            "HOME": "/home/somebody",
        }
    )
    assert hiding.text("one-secret-value two-secret-value three-secret /home/somebody") == "*** *** *** /home/somebody"
    assert hiding.text("four-secret-value and five-secret-value") == "*** and ***"


def test_only_so_many_secrets_are_remembered():
    hiding = Redactor()
    for number in range(SECRETS_MAX + 1):
        hiding.hide(f"secret-number-{number:06}")
    assert hiding.text("secret-number-000000") == "secret-number-000000"
    assert hiding.text(f"secret-number-{SECRETS_MAX:06}") == MASK


def test_every_name_of_a_secret_is_looked_for(hiding):
    words = "password passwd passphrase pwd secret token credential credentials authorization api-key apikey api_key "
    words += "access_key accesskey secret_key private-key privatekey account_key access_key_id client_secret "
    words += "session_id sessionid cookie signature my_secret aws_session_token X-Api-Key"
    for word in words.split():
        assert hiding.text(f"{word}=canary").endswith("***"), word
        assert hiding.is_secret(word), word


@pytest.mark.parametrize(
    "piece",
    ["a", "a-", "secret", "password=", "://a:", "'", "{", "eyJ", "bearer ", "\\", "://a@", "token='", "token=\\'",
     "\\'", "token={", "token={}", "token={{}", "token=[[]", "token=a(", "token\\", "token=\\\"\\\\\""],
)  # fmt: skip
def test_long_text_takes_no_time_worth_mentioning(hiding, piece):
    text = piece * (200_000 // len(piece)) + " secret"  # So that the patterns are tried.
    started_s = time.process_time()
    hiding.text(text)
    assert time.process_time() - started_s < 2.0
