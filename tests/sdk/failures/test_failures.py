"""What providers do wrong, at every moment of an answer, as the official SDKs raise it: `failures.json`, in all of their ways of
asking, with a provider of their own dialect behind the gateway, and another.

The same file runs in two environments, each with its SDKs; `failures.test.mjs` has the columns of Node.
"""

import json
import pathlib
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from failures.columns import KEY, ToldInStream, installed

HERE = pathlib.Path(__file__).resolve().parent
TABLE = json.loads((HERE / "failures.json").read_text())
TEXT = TABLE["text"]
COLUMNS = installed()
each_column = pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)


def each_failure(moment):
    return pytest.mark.parametrize("failure", TABLE[moment], ids=lambda failure: failure["failure"])


def heeds(column, header):
    """Others wait and repeat as they like."""
    return header in TABLE["heeds"][column.name]


def outcome(way, client, model, script):
    """The text that came, and what was raised after it."""
    pieces = []
    try:
        for piece in way(client, model, script):
            pieces.append(piece)
    except Exception as error:  # whatever an SDK raises: its class is what is tested
        return "".join(pieces), error
    return "".join(pieces), None


def outcomes(failing, column, failure, ways):
    """Every way of asking, with both providers behind, all at once: (what was asked, style, text, error)."""
    client = column.connect(failing.gateway, 1, KEY)
    script = failure["script"].replace("{text}", TEXT)

    def ask(asked):
        (name, way), style = asked
        model = failure["model"].format(style=style, case=failing.case() if "{case}" in failure["model"] else "")
        return (f"{name}, {model}", style, *outcome(way, client, model, script))

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(ask, [(way, style) for way in ways.items() for style in column.behind]))


def of_style(value, style):
    return value[style] if isinstance(value, dict) else value


def check_class(column, error, wanted, asked):
    if wanted is None:
        assert isinstance(error, ToldInStream), f"{asked}: {error!r}"
        return
    assert type(error).__name__ == wanted, f"{asked}: {error!r}"
    assert type(error).__module__.startswith(column.package), f"{asked}: {type(error).__module__}"


def check_words(error, says, asked):
    assert says in str(error), f"{asked}: {error!r}"
    assert not any(secret in str(error) for secret in ("sk-secret", "bad-key", "sk-house")), f"{asked}: {error!r}"


def check_statuses(failing, column, failure, ways):
    for asked, style, text, error in outcomes(failing, column, failure, ways):
        status = of_style(failure["status"], style)
        check_class(column, error, TABLE["raised"][column.name][str(status)], asked)
        assert (text, column.status(error)) == ("", status), asked
        check_words(error, of_style(failure["says"], style), asked)


def test_an_environment_has_all_of_its_columns():
    assert [column.name for column in COLUMNS] in (["openai", "anthropic"], ["google.genai", "boto3", "cohere"])


@each_column
@each_failure("before_the_headers")
def test_a_failure_before_the_headers(failing, column, failure):
    check_statuses(failing, column, failure, column.whole | column.streamed)


@each_column
@each_failure("before_the_content")
def test_a_failure_after_the_headers_is_still_a_status(failing, column, failure):
    check_statuses(failing, column, failure, column.streamed)


@each_column
@each_failure("in_the_stream")
def test_a_stream_that_fails_raises_after_its_text(failing, column, failure):
    for asked, style, text, error in outcomes(failing, column, failure, column.streamed):
        check_class(column, error, TABLE["raised"][column.name]["in a stream"], asked)
        check_words(error, of_style(failure["says"], style), asked)
        assert text and TEXT.startswith(text) and text != TEXT, f"{asked}: {text!r}"


def limited(retry_after, key):
    told = "" if retry_after is None else f" retry-after={retry_after}"
    return f"[fail: 429{told} times=1 key={key} slow down][say: at last]"


@pytest.mark.parametrize("wait", TABLE["waits"], ids=lambda wait: str(wait["retry_after"]))
@pytest.mark.parametrize(
    "column", [column for column in COLUMNS if heeds(column, "retry-after")], ids=lambda column: column.name
)
def test_an_sdk_that_repeats_waits_as_it_is_told(failing, column, wait):
    """The key rests for as long, so whoever came back before would be told again to wait."""
    client = column.connect(failing.gateway, 2, KEY)

    def ask(asked):
        (name, way), style = asked
        case = failing.case()
        began = time.monotonic()
        answer = outcome(way, client, f"{style}/{case}", limited(wait["retry_after"], f"{case}-{column.name}"))
        return f"{name}, {style}", answer, time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [(way, style) for way in column.whole.items() for style in column.behind]))
    for asked, answer, took in answers:
        assert answer == ("at last", None), asked
        assert wait["seconds"] <= took < wait["seconds"] + 6, f"{asked}: {took}"


@each_column
def test_an_sdk_that_waits_as_it_likes_gets_its_answer_all_the_same(failing, column):
    client = column.connect(failing.gateway, 5, KEY)
    case = failing.case()
    (way, *_), style = column.whole.values(), column.behind[0]
    assert outcome(way, client, f"{style}/{case}", limited(None, f"{case}-patient")) == ("at last", None)


@each_column
def test_nobody_is_told_to_wait_for_years(failing, column):
    """Some SDKs would sleep for weeks, and one comes back at once, because its timer overflows."""
    failure = {"model": "{style}/{case}", "script": f"[fail: 429 retry-after={TABLE['too_long']['retry_after']}]"}
    for asked, _, _, error in outcomes(failing, column, failure, column.whole | column.streamed):
        assert column.header(error, "retry-after") == TABLE["too_long"]["told"], asked


def refused(failing):
    """How many requests the gateway has answered with an error so far."""
    with urllib.request.urlopen(f"{failing.gateway}/metrics") as reply:
        counts = re.findall(r'^http_requests_total{.*status="[45]..".*} (.+)$', reply.read().decode(), re.MULTILINE)
    return sum(map(float, counts))


HOPELESS = [
    ("vk-nobody", "{style}/scripted-small", 401),
    ("vk-gone", "{style}/scripted-small", 403),
    (KEY, "revoked-{style}/m", 502),
]
# SDKs that know no `x-should-retry` repeat every 5xx.
OBEYED = [(column, *asked) for column in COLUMNS for asked in HOPELESS if heeds(column, "x-should-retry") or asked[2] < 500]


@pytest.mark.parametrize(("column", "key", "model", "status"), OBEYED, ids=lambda value: getattr(value, "name", None))
def test_what_is_hopeless_is_asked_once(failing, column, key, model, status):
    client = column.connect(failing.gateway, 4, key)
    (way, *_), style = column.whole.values(), column.behind[0]
    before = refused(failing)
    _, error = outcome(way, client, model.format(style=style), "hi")
    check_class(column, error, TABLE["raised"][column.name][str(status)], model)
    assert column.status(error) == status
    assert refused(failing) - before == 1


def raised(classes):
    """`BadRequestError` 400, `InternalServerError` 500 502: each class with its statuses."""
    statuses = {}
    for status, name in classes.items():
        if status.isdigit():
            statuses.setdefault(name, []).append(status)
    return ", ".join(f"`{name}` {' '.join(of)}" for name, of in statuses.items())


def test_the_page_of_errors_is_current():
    lines = ["| SDK | raises, by status | in a stream | heeds |", "|---|---|---|---|"]
    for name, classes in TABLE["raised"].items():
        streamed = f"`{classes['in a stream']}`" if classes["in a stream"] else "nothing: see below"
        heeded = ", ".join(f"`{header}`" for header in TABLE["heeds"][name]) or "neither"
        lines.append(f"| `{name}` | {raised(classes)} | {streamed} | {heeded} |")
    page = (HERE.parents[2] / "docs" / "errors.md").read_text()
    _, _, rest = page.partition("<!-- raised: made from tests/sdk/failures/failures.json, kept current by a test -->\n\n")
    assert rest.partition("\n<!-- end of raised -->")[0].splitlines() == lines, "\n".join(["this belongs there:", *lines])
