"""A call as text for people: a line per event while it lives, then a table of its figures."""

from collections.abc import Iterable, Iterator

from rich.table import Table

from shared.carrier.events import CarrierEvent, EventKind
from shared.carrier.report import CallOutcome, CallReport

NO = "–"
NO_CLOSE = 1006  # as a close code: there was no close, the socket broke
_OUTCOMES = {
    CallOutcome.COMPLETED: "was completed",
    CallOutcome.REFUSED: "was refused",
    CallOutcome.FAILED: "failed",
}


def tell_event(event: CarrierEvent) -> str:
    """One line, such as ` 3.21 s  caller  Hello.`"""
    who, what = _WORDS[event.kind]
    if event.kind is EventKind.SOCKET_DROPPED and event.data.get("code") != NO_CLOSE:
        who, what = "server", "closes the stream, and not for good (close code {code}) {reason}"
    data = {"text": "", "why": "", "reason": "", "barge_in_ms": "", "is_interruption": False, **event.data}
    text = what.format(**data)
    if data["is_interruption"]:
        text += "  (interrupts)"
    if data["barge_in_ms"]:
        text += f", {data['barge_in_ms']} ms after the caller began to speak"
    return f"{event.t_s:6.2f} s  {who:<8} {text}"


_WORDS: dict[EventKind, tuple[str, str]] = {
    EventKind.ANSWER_ASKED: ("carrier", "asks the {which} answer URL"),
    EventKind.ANSWERED: ("server", "answers in {ms} ms: {codec} {sample_rate}"),
    EventKind.ANSWER_FAILED: ("server", "gives no {which} answer: {why}"),
    EventKind.CONNECTED: ("carrier", "connects to {url} in {ms} ms"),
    EventKind.CONNECT_FAILED: ("carrier", "cannot connect: {why}"),
    EventKind.STREAM_STARTED: ("carrier", "starts stream {stream_id}"),
    EventKind.BOT_SPEAKING: ("bot", "speaks"),
    EventKind.BOT_QUIET: ("bot", "is quiet"),
    EventKind.CALLER_SPEAKING: ("caller", "{text}"),
    EventKind.CALLER_QUIET: ("caller", "is quiet"),
    EventKind.KEY_PRESSED: ("caller", "presses {digit}"),
    EventKind.AUDIO_CLEARED: ("bot", "clears {dropped_ms} ms of audio"),
    EventKind.CHECKPOINT_PLAYED: ("carrier", "has played up to checkpoint {name}"),
    EventKind.SOCKET_DROPPED: ("network", "drops the socket (close code {code}) {reason}"),
    EventKind.ENDED: ("carrier", "the call has been ended by the {by} (close code {code})"),
    EventKind.HANGUP_SENT: ("carrier", "has sent the hangup webhook (status {status})"),
}


def tabulate(report: CallReport, more: Iterable[tuple[str, str]] = ()) -> Table:
    """The figures of a call, for a terminal; `more` of them from elsewhere."""
    table = Table(show_header=False, title=f"The call {_OUTCOMES[report.outcome]}", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, value in (*_rows(report), *more):
        table.add_row(name, value)
    for error in report.errors:
        table.add_row("error", error, style="red")
    for note in report.notes:
        table.add_row("note", note)
    return table


def _rows(report: CallReport) -> Iterator[tuple[str, str]]:
    yield "call", report.call_uuid
    yield "answer", _ms(report.answer_ms) + (" (fallback)" if report.fallback_used else "")
    yield "connect", _ms(report.connect_ms)
    yield "codec", f"{report.codec} {report.sample_rate}" if report.codec else NO
    yield "first audio", _ms(report.first_audio_ms)
    yield "responses", _list_ms(report.response_ms)
    yield "barge-in", _list_ms(report.barge_in_ms)
    yield "underruns", f"{report.underruns}" + (f" ({_list_ms(report.gaps_ms)})" if report.gaps_ms else "")
    yield "heard", f"{report.heard_s:.1f} s"
    yield "frames", f"{report.frames_sent} sent, {report.frames_lost} lost, {report.frames_received} received"
    yield "checkpoints", ", ".join(report.checkpoints) or NO
    yield "ended by", f"{report.ended_by or NO} (close code {report.close_code or NO})"
    if report.reconnects:
        yield "reconnects", str(report.reconnects)
    if report.recording:
        yield "recording", report.recording


def _ms(value: float | None) -> str:
    return NO if value is None else f"{value:.0f} ms"


def _list_ms(values: list[float]) -> str:
    return ", ".join(_ms(value) for value in values) or NO
