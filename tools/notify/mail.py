"""Sends e-mail over SMTP, and knows at which point a failure leaves the outcome open."""

import html
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from nebula.markup.text import prose, visible
from tools.notify.addresses import Mailbox
from tools.notify.schemas import Message, Outcome

_SECONDS = 10.0
"""For each step of the conversation."""


def send(mailbox: Mailbox, message: Message, seconds: float = _SECONDS) -> tuple[Outcome, str]:
    """Hand one message to the mail server (blocking: run it in a thread)."""
    try:
        server = _connected(mailbox, seconds)
    except ssl.SSLError as error:
        return Outcome.FAILED, f"No secure connection to {mailbox.host}: {_reason(error)}"
    except smtplib.SMTPAuthenticationError:
        return Outcome.FAILED, f"{mailbox.host} does not accept the account's user or password"
    except smtplib.SMTPException as error:
        return Outcome.FAILED, f"{mailbox.host} refused the connection ({type(error).__name__})"
    except OSError as error:
        return Outcome.FAILED, f"{mailbox.host} cannot be reached ({type(error).__name__})"
    try:
        return _handed_over(server, mailbox, _mail(mailbox, message))
    finally:
        server.close()


def _connected(mailbox: Mailbox, seconds: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if not mailbox.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    server: smtplib.SMTP
    if mailbox.security == "ssl":
        server = smtplib.SMTP_SSL(mailbox.host, mailbox.port, timeout=seconds, context=context)
    else:
        server = smtplib.SMTP(mailbox.host, mailbox.port, timeout=seconds)
    try:
        if mailbox.security == "starttls":
            server.starttls(context=context)
        if mailbox.user and mailbox.password:
            server.login(mailbox.user, mailbox.password)
    except (OSError, smtplib.SMTPException):
        server.close()
        raise
    return server


def _handed_over(server: smtplib.SMTP, mailbox: Mailbox, mail: EmailMessage) -> tuple[Outcome, str]:
    """Run the SMTP dialogue; only from the message's last byte on may it have arrived."""
    try:
        server.ehlo_or_helo_if_needed()
        code, _ = server.mail(mailbox.sender)
        if code >= 300:
            return Outcome.FAILED, f"{mailbox.host} refused the sender ({code})"
        refused = [to for to in mailbox.recipients if server.rcpt(to)[0] >= 300]
        if len(refused) == len(mailbox.recipients):
            return Outcome.FAILED, f"{mailbox.host} refused every recipient"
    except (OSError, smtplib.SMTPException) as error:
        return Outcome.FAILED, f"{mailbox.host} broke off ({type(error).__name__})"
    try:
        code, _ = server.data(mail.as_bytes(policy=SMTP))
    except smtplib.SMTPDataError as error:
        return Outcome.FAILED, f"{mailbox.host} refused the message ({error.smtp_code})"
    except (OSError, smtplib.SMTPException) as error:
        return Outcome.UNKNOWN, f"{mailbox.host} did not confirm it ({type(error).__name__})"
    if code >= 300:
        return Outcome.FAILED, f"{mailbox.host} refused the message ({code})"
    if refused:
        return Outcome.SENT, f"accepted, but not for {', '.join(refused)}"
    return Outcome.SENT, f"accepted by {mailbox.host}"


def _mail(mailbox: Mailbox, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = visible(" ".join(message.title.split()))
    mail["From"] = f"Jarvis <{mailbox.sender}>"
    mail["To"] = ", ".join(mailbox.visible)
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain=mailbox.sender.partition("@")[2] or None)
    text = prose(message.text)
    mail.set_content(text)
    written = html.escape(text).replace("\n", "<br>\n")
    mail.add_alternative(f"<p>{written}</p>", subtype="html")
    return mail


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or error.reason or "TLS failed"
