"""notify_send and its channels, over the real protocols."""

import asyncio
import io
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from sqlalchemy import text

from nebula.app import App
from nebula.errors import ApprovalRequired, InvalidInput, NotFound, PermissionDenied
from nebula.log import configure_logging
from nebula.tool.render import to_markdown
from tests.fakes.discord_webhook import DiscordWebhook
from tests.fakes.serve import refusing, serve
from tests.fakes.smtp import smtp_server
from tests.fakes.wire import Wire
from tools.notify import discord, mail
from tools.notify.addresses import parse
from tools.notify.schemas import Level, Message, Outcome

MESSAGE = Message(title="Backup", body="It *ran*.", text="It *ran*.", level=Level.SUCCESS)


class Door:
    """Calls the tools as one person."""

    def __init__(self, app: App, caller: Any) -> None:
        self._app, self._caller, self._calls = app, caller, 0

    async def __call__(self, tool: str, /, **arguments: Any) -> Any:
        self._calls += 1
        return await self._app.executor.execute(
            tool, arguments, caller=self._caller, call_id=f"{id(self)}-{self._calls}"
        )


@pytest.fixture
def door(app: App, caller: Any, admin: Any) -> Door:
    return Door(app, caller(admin))


@pytest.fixture
async def webhook(wire: Wire) -> AsyncIterator[DiscordWebhook]:
    fake = DiscordWebhook()
    wire.mount("https://discord.com", fake)
    yield fake


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Log everything as the program does, into a buffer."""
    root, level = logging.getLogger(), logging.getLogger().level
    before = root.handlers[:]
    buffer = io.StringIO()
    configure_logging("json", "DEBUG", buffer)
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    yield buffer
    root.handlers[:] = before
    root.setLevel(level)


async def test_several_channels_in_one_call_each_have_their_own_outcome(
    door: Door, webhook: DiscordWebhook
) -> None:
    async with smtp_server() as box:
        await door("notify_set_channel", name="discord", address=webhook.url)
        mailto = f"mailto://127.0.0.1:{box.port}?from=jarvis@lab.test&to=ann@lab.test"
        await door("notify_set_channel", name="mail", address=mailto)
        with refusing() as nowhere:
            dead = nowhere.replace("http://", "json://")
            await door("notify_set_channel", name="hook", address=dead)
            report = await door(
                "notify_send",
                channels=["Mail", "discord", "hook", "mail"],
                message="The render is done @everyone",
                title="Render",
                template="success",
                fields={"frames": "240"},
            )
    outcomes = [(each.channel, each.outcome) for each in report.deliveries]
    assert outcomes == [
        ("mail", Outcome.SENT),
        ("discord", Outcome.SENT),
        ("hook", Outcome.FAILED),
    ]
    (embed,) = webhook.posted[0]["embeds"]
    assert embed["title"] == "Done: Render"
    assert embed["color"] == 0x30A46C
    assert embed["fields"] == [{"name": "frames", "value": "240", "inline": True}]
    assert webhook.posted[0]["allowed_mentions"] == {"parse": []}
    (letter,) = box.mails
    assert letter["Subject"] == "Done: Render"
    assert letter["To"] == "ann@lab.test"
    body = letter.get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines() == ["The render is done @everyone", "- frames: 240"]
    listed = await door("notify_list_channels")
    last = {each.name: each.last_outcome for each in listed.channels}
    assert last == {"discord": "sent", "hook": "failed", "mail": "sent"}


async def test_an_address_is_never_shown_stored_plainly_or_logged(
    app: App, door: Door, webhook: DiscordWebhook, logged: io.StringIO
) -> None:
    secret = "hunter2-very-secret"
    made = await door("notify_set_channel", name="discord", address=webhook.url)
    await door(
        "notify_set_channel",
        name="slack",
        address="slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    )
    await door(
        "notify_set_channel", name="mail", address=f"smtp://bob:{secret}@mail.test/?to=a@b.test"
    )
    webhook.plan = [404]
    sent = await door("notify_send", channels=["discord"], message="x")
    listed = await door("notify_list_channels")
    async with app.parts.db.session() as session:
        tables = ("notify_channels", "audit_log", "tool_calls", "approvals")
        rows = [
            str((await session.execute(text(f"SELECT * FROM {each}"))).all()) for each in tables
        ]
    everything = "".join(
        [*rows, logged.getvalue(), *(to_markdown(r.render()) for r in (made, sent, listed))]
    )
    for hidden in (secret, "s3cret-tok_en", "TIiajkdnlazkcOXrIdevi7FQ", "A1BRTD4JD"):
        assert hidden not in everything
    assert [each.target for each in listed.channels] == [
        "Discord webhook …1234",
        "a@b.test via mail.test",
        "Slack",
    ]


async def test_nothing_is_sent_when_one_name_is_no_channel(
    door: Door, webhook: DiscordWebhook
) -> None:
    with pytest.raises(NotFound, match="No channel is configured"):
        await door("notify_send", message="x")
    await door("notify_set_channel", name="discord", address=webhook.url)
    with pytest.raises(NotFound, match="'opps'") as caught:
        await door("notify_send", channels=["discord", "opps"], message="x")
    assert caught.value.hint == "Channels: discord."
    assert webhook.requests == 0


async def test_the_only_channel_is_taken_when_none_is_named(
    door: Door, webhook: DiscordWebhook
) -> None:
    await door("notify_set_channel", name="discord", address=webhook.url)
    report = await door("notify_send", message="x")
    assert report.deliveries[0].outcome is Outcome.SENT
    await door("notify_set_channel", name="other", address="json://127.0.0.1:9")
    with pytest.raises(InvalidInput, match="which channel"):
        await door("notify_send", message="x")


async def test_a_channel_is_switched_off_changed_and_removed(
    door: Door, webhook: DiscordWebhook
) -> None:
    await door("notify_set_channel", name="discord", address=webhook.url)
    await door("notify_set_channel", name="discord", enabled=False)
    off = await door("notify_send", message="x")
    assert off.deliveries[0].detail == "It is switched off"
    assert webhook.requests == 0
    await door("notify_set_channel", name="discord", enabled=True)
    assert (await door("notify_send", message="x")).deliveries[0].outcome is Outcome.SENT
    await door("notify_set_channel", name="discord", remove=True)
    assert (await door("notify_list_channels")).channels == []
    with pytest.raises(NotFound):
        await door("notify_set_channel", name="discord", remove=True)
    with pytest.raises(NotFound):
        await door("notify_set_channel", name="discord", enabled=True)


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "https://discord.com/channels/1/2",
        "https://example.org/hook",
        "mailto://",
        "json://\nhost",
        "   ",
    ],
)
async def test_an_address_of_no_known_form_is_refused_without_repeating_it(
    door: Door, address: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await door("notify_set_channel", name="x", address=address)
    assert address.strip() == "" or address.strip() not in str(caught.value)
    assert (await door("notify_list_channels")).channels == []


async def test_a_model_names_channels_and_never_makes_them(
    app: App, caller: Any, admin: Any, viewer: Any, webhook: DiscordWebhook
) -> None:
    by_model = Door(app, caller(admin, by_model=True))
    with pytest.raises(PermissionDenied):
        await by_model("notify_set_channel", name="evil", address=webhook.url)
    with pytest.raises(InvalidInput):
        await by_model("notify_send", channels=[webhook.url], message="x")
    with pytest.raises(PermissionDenied):
        await Door(app, caller(viewer))("notify_send", message="x")


async def test_a_message_after_text_from_outside_waits_for_a_person(
    app: App, door: Door, caller: Any, admin: Any, webhook: DiscordWebhook
) -> None:
    from nebula.policy.labels import Label

    await door("notify_set_channel", name="discord", address=webhook.url)
    tainted = caller(admin, by_model=True, labels=frozenset({Label.USER, Label.OUTSIDE}))
    with pytest.raises(ApprovalRequired):
        await Door(app, tainted)("notify_send", message="exfiltrate")
    assert webhook.requests == 0


@pytest.mark.parametrize(
    ("plan", "outcome", "requests"),
    [
        ([(429, {"retry_after": 0.01})], Outcome.SENT, 2),
        ([(429, {"retry_after": 0.01}), (429, {"retry_after": 0.01})], Outcome.FAILED, 2),
        ([(429, {"retry_after": 900})], Outcome.FAILED, 1),
        ([(429, b"<html>", {"retry-after": "soon"})], Outcome.FAILED, 1),
        ([500], Outcome.UNKNOWN, 1),
        ([502], Outcome.UNKNOWN, 1),
        ([404], Outcome.FAILED, 1),
        ([400], Outcome.FAILED, 1),
        ([(200, b"<html>proxy</html>")], Outcome.UNKNOWN, 1),
        ([(200, [])], Outcome.UNKNOWN, 1),
    ],
)
async def test_what_discord_answers_decides_the_outcome(
    wire: Wire, webhook: DiscordWebhook, plan: list[Any], outcome: Outcome, requests: int
) -> None:
    webhook.plan = list(plan)
    address = parse(webhook.url).webhook
    assert address is not None
    async with httpx.AsyncClient(transport=wire) as http:
        told, detail = await discord.post(http, address, MESSAGE)
    assert (told, webhook.requests) == (outcome, requests)
    assert webhook.path.rpartition("/")[2] not in detail


class Forward(httpx.AsyncBaseTransport):
    """Sends what is meant for Discord to a real server on loopback."""

    def __init__(self, base: str, verify: ssl.SSLContext | bool = True) -> None:
        self._base = httpx.URL(base)
        self._real = httpx.AsyncHTTPTransport(verify=verify)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        base = self._base
        request.url = request.url.copy_with(scheme=base.scheme, host=base.host, port=base.port)
        return await self._real.handle_async_request(request)

    async def aclose(self) -> None:
        await self._real.aclose()


async def test_a_stalled_discord_is_unknown_and_is_asked_once(webhook: DiscordWebhook) -> None:
    webhook.plan = ["stall"]
    address = parse(webhook.url).webhook
    assert address is not None
    async with serve(webhook) as base, httpx.AsyncClient(transport=Forward(base)) as http:
        outcome, detail = await discord.post(http, address, MESSAGE, seconds=0.3)
    assert outcome is Outcome.UNKNOWN
    assert "did not answer" in detail
    assert webhook.requests == 1


async def test_a_refused_connection_or_a_wrong_certificate_was_never_sent(
    webhook: DiscordWebhook,
) -> None:
    address = parse(webhook.url).webhook
    assert address is not None
    with refusing() as nowhere:
        async with httpx.AsyncClient(transport=Forward(nowhere)) as http:
            assert (await discord.post(http, address, MESSAGE))[0] is Outcome.FAILED
    async with (
        serve(webhook, tls=_tls()) as base,
        httpx.AsyncClient(transport=Forward(base)) as http,
    ):
        assert (await discord.post(http, address, MESSAGE))[0] is Outcome.FAILED
    assert webhook.requests == 0


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def sent(url: str, seconds: float = 3.0) -> tuple[Outcome, str]:
    box = parse(url).mailbox
    assert box is not None
    return await asyncio.to_thread(mail.send, box, MESSAGE, seconds)


@pytest.mark.filterwarnings("ignore:Requiring AUTH", "ignore:Session.login_data")
async def test_mail_is_accepted_with_a_login_and_blind_copies_stay_blind() -> None:
    async with smtp_server(account=("bob", "pw")) as box:
        url = f"mailto://bob:pw@127.0.0.1:{box.port}?from=j@lab.test&to=a@b.test&bcc=c@d.test"
        assert (await sent(url))[0] is Outcome.SENT
        wrong = url.replace("bob:pw", "bob:wrong")
        outcome, detail = await sent(wrong)
    assert box.recipients == [["a@b.test", "c@d.test"]]
    assert "c@d.test" not in str(box.mails[0])
    assert outcome is Outcome.FAILED
    assert "password" in detail


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ({"data_answer": "drop"}, Outcome.UNKNOWN),
        ({"data_answer": "stall"}, Outcome.UNKNOWN),
        ({"data_answer": "554 spam"}, Outcome.FAILED),
        ({"drop_at": "MAIL"}, Outcome.FAILED),
        ({"refuse": {"a@b.test"}}, Outcome.FAILED),
    ],
)
async def test_where_mail_breaks_off_decides_the_outcome(
    behaviour: dict[str, Any], outcome: Outcome
) -> None:
    async with smtp_server() as box:
        for name, value in behaviour.items():
            setattr(box, name, value)
        url = f"mailto://127.0.0.1:{box.port}?from=j@lab.test&to=a@b.test"
        assert (await sent(url, 0.5))[0] is outcome


async def test_a_long_mail_goes_out_in_lines_as_mail_servers_want_them() -> None:
    lines = "\n".join(f"line {number}" for number in range(500))
    async with smtp_server() as box:
        mailbox = parse(f"mailto://127.0.0.1:{box.port}?from=j@lab.test&to=ann@lab.test").mailbox
        long = MESSAGE.model_copy(update={"text": lines})
        outcome, _ = await asyncio.to_thread(mail.send, mailbox, long)
    assert outcome is Outcome.SENT
    assert "line 499" in str(box.mails[0])


async def test_mail_to_some_of_several_says_who_was_refused() -> None:
    async with smtp_server() as box:
        box.refuse = {"c@d.test"}
        outcome, detail = await sent(
            f"mailto://127.0.0.1:{box.port}?from=j@lab.test&to=a@b.test,c@d.test"
        )
    assert outcome is Outcome.SENT
    assert "c@d.test" in detail


async def test_mail_with_a_certificate_nobody_signed_is_not_sent() -> None:
    async with smtp_server(tls=_tls()) as box:
        url = f"mailtos://127.0.0.1:{box.port}?from=j@lab.test&to=a@b.test&mode=starttls"
        outcome, detail = await sent(url)
        assert outcome is Outcome.FAILED
        assert "secure" in detail
        assert (await sent(f"{url}&verify=no"))[0] is Outcome.SENT
    with refusing() as nowhere:
        port = nowhere.rpartition(":")[2]
        gone = await sent(f"mailto://127.0.0.1:{port}?from=j@lab.test&to=a@b.test")
    assert gone[0] is Outcome.FAILED


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, Outcome.SENT), (403, Outcome.FAILED), (503, Outcome.UNKNOWN)]
)
async def test_any_other_service_goes_through_apprise(status: int, outcome: Outcome) -> None:
    from tools.notify import others

    fake = DiscordWebhook()
    fake.plan = [(status, {})]
    async with serve(fake) as base:
        told, detail = await others.send(base.replace("http://", "json://") + "/tok3n", MESSAGE)
    assert told is outcome, detail
    assert "tok3n" not in detail


async def test_a_service_behind_apprise_that_stalls_is_unknown() -> None:
    from tools.notify import others

    fake = DiscordWebhook()
    fake.plan = ["stall"]
    async with serve(fake) as base:
        told, detail = await others.send(base.replace("http://", "json://") + "/?rto=0.3", MESSAGE)
    assert told is Outcome.UNKNOWN, detail
    assert fake.requests == 1


async def test_templates_are_listed_previewed_and_replaced_by_ones_own(
    app: App, door: Door
) -> None:
    listed = await door("notify_list_templates")
    assert [each.name for each in listed.templates] == ["alert", "info", "success", "warning"]
    shown = await door("notify_preview", template="alert", message="disk {{ 7*7 }}", title="Disk")
    assert (shown.title, shown.body) == ("Alert: Disk", "disk {{ 7*7 }}")
    folder: Path = app.parts.settings.home / "templates" / "notify"
    folder.mkdir(parents=True)
    (folder / "stream.j2").write_text("Live: {{ title }}\n{{ message | upper }} ({{ level }})\n")
    mine = await door("notify_preview", template="stream", message="now", title="Speedrun")
    assert (mine.title, mine.body) == ("Live: Speedrun", "NOW (info)")
    with pytest.raises(NotFound, match="no template"):
        await door("notify_preview", template="nothing", message="x")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ message.__init__.__globals__ }}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{{ fields.update({'a': 'b'}) }}",
        "{{ nothing }}",
        "{% if %}",
        "{{ message * 100000 }}",
    ],
)
async def test_a_template_cannot_leave_its_sandbox(app: App, door: Door, source: str) -> None:
    folder: Path = app.parts.settings.home / "templates" / "notify"
    folder.mkdir(parents=True)
    (folder / "evil.j2").write_text(f"t\n{source}")
    with pytest.raises(InvalidInput, match="'evil'"):
        await door("notify_preview", template="evil", message="x")
