"""OpenTelemetry traces: one span a request, sent to where `OTEL_EXPORTER_OTLP_ENDPOINT` says.

The packages are an extra (`tracing`), since most have no collector. They are imported only when it
is set; without it, nothing here is used.
"""

import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.trace import Span

#: Where to send traces; the base URL of a collector that speaks OTLP over HTTP.
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_STOP_SECONDS: Final = 2.0


class TracingError(ValueError):
    """Traces are wanted and cannot be made; the message is one line."""


class Tracer:
    """Makes spans and sends them in the background; one a process."""

    def __init__(self, use_case: str) -> None:
        """Begin to export. Everything else is read from the `OTEL_…` variables of the SDK.

        Args:
            use_case: What is served; an attribute of every span.

        Raises:
            TracingError: The packages are not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TracingError(
                f"{ENDPOINT} is set, but {error.name} is not installed: "
                "pip install 'mlops-assets[tracing]', or unset it"
            ) from None
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # What is passed here goes over the environment, whose name comes first.
        named = os.environ.get("OTEL_SERVICE_NAME")
        resource = Resource.create({SERVICE_NAME: named or "serving"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("serving")
        self._kind = SpanKind.SERVER
        self._attributes = {"mlops.use_case": use_case}
        self._extract = TraceContextTextMapPropagator().extract

    def start(self, traceparent: bytes | None) -> "RequestSpan":
        """Begin the span of a request, within the caller's trace where it gave one."""
        context = None
        if traceparent is not None:
            context = self._extract({"traceparent": traceparent.decode("latin-1")})
        return RequestSpan(
            self._tracer.start_span(
                "request", context, kind=self._kind, attributes=self._attributes
            )
        )

    def stop(self) -> None:
        """Send what is left, without waiting for long for a collector that is away."""
        # A daemon: the process ends without it. The SDK itself would wait for more than 10 s.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(_STOP_SECONDS)


class RequestSpan:
    """The span of one request."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    def end(self, method: str, route: str, status: int, version: str | None) -> None:
        """End it with what is known now; nothing of what the client sent.

        Args:
            method: Of the request.
            route: The template of its path.
            status: Of the answer.
            version: That answered, if one did.
        """
        span = self._span
        if span.is_recording():
            span.update_name(f"{method} {route}")
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if version is not None:
                span.set_attribute("mlops.model.version", version)
            if status >= 500:
                from opentelemetry.trace import StatusCode

                span.set_status(StatusCode.ERROR)
        span.end()
