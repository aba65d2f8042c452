"""A FAKE of a cluster: the API of one Deployment with its controller, and nothing more.

It knows server-side apply with owners and conflicts of fields, resource versions, generations,
revisions, a watch, a progress deadline, and pods that turn ready, or never. A real cluster
(``tests.rollout.real_kubernetes``) answers the same tests alike. Pods are addresses: of a real
serving app where a test starts one.
"""

import copy
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]
Path = tuple[str, ...]
NAMESPACE, NAME = "mlops-test", "serving"
PROGRESS_DEADLINE_SECONDS = 0.6
REVISION = "deployment.kubernetes.io/revision"
STEP_SECONDS = 0.02
TEMPLATE: Path = ("spec", "template")
IMAGE: Path = (*TEMPLATE, "spec", "containers", NAME, "image")
ANNOTATIONS: Path = (*TEMPLATE, "metadata", "annotations")


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field, with containers by their names, as server-side apply merges them."""
    if isinstance(value, list):
        value = {each["name"]: each for each in value}
    if not isinstance(value, dict):
        yield path, value
        return
    for key, each in value.items():
        yield from _leaves(each, (*path, key))


def _now() -> str:
    return datetime.now(UTC).isoformat()


def in_template(image: str) -> Object:
    """An image as a manager applies it."""
    return {"spec": {"template": {"spec": {"containers": [{"name": NAME, "image": image}]}}}}


class FakeKubernetes:
    """One Deployment on loopback, with three pods.

    Attributes:
        requests: Verb of each request, as RBAC names it.
        failures: By verb, what the next requests are answered with: status and headers.
        drop_watches: Every watch is cut off before it has shown anything.
        starts: Whether new pods turn ready.
        silent: The controller is away.
        pod_port: Where each pod's app answers.
        least: The fewest pods that were ready at once.
        images: That can be pulled.
    """

    namespace = NAMESPACE
    images = ("registry.example/serving:1", "registry.example/serving:2")

    def __init__(self) -> None:
        replicas = 3
        self.requests: list[str] = []
        self.failures: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.drop_watches = False
        self.starts, self.silent = True, False
        self.pod_port = 1
        self.least = replicas
        self.fields: dict[Path, Any] = {
            IMAGE: self.images[0],
            (*TEMPLATE, "spec", "containers", NAME, "name"): NAME,
            ("spec", "replicas"): replicas,
            ("spec", "progressDeadlineSeconds"): PROGRESS_DEADLINE_SECONDS,
        }
        self.owners = {path: {"kubectl"} for path in self.fields}
        self.owners[("spec", "replicas")] = {"autoscaler"}
        self.revisions: list[Object] = [self.template()]
        # Revision of each pod, oldest first; those that are ready.
        self.pods: dict[str, int] = {f"serving-{n}": 0 for n in range(replicas)}
        self.ready = set(self.pods)
        self._made = replicas
        self._version, self._generation, self._observed = 1, 1, 1
        self._progressed, self._reason = time.monotonic(), "NewReplicaSetAvailable"
        self._said_at = self._edited_at = _now()
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> "FakeKubernetes":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}),
            threading.Thread(target=self._control),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def kubeconfig(self) -> str:
        """The file that leads here."""
        at = f"http://127.0.0.1:{self._server.server_address[1]}"
        context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [context],
                "clusters": [{"name": "c", "cluster": {"server": at}}],
                "users": [{"name": "u", "user": {"token": "none"}}],
            }
        )

    def template(self) -> Object:
        """The pod template as it is now."""
        annotations = {p[-1]: v for p, v in self.fields.items() if p[:-1] == ANNOTATIONS}
        container = {"name": NAME, "image": self.fields[IMAGE]}
        return {
            "metadata": {"labels": {"app": NAME}, "annotations": annotations},
            "spec": {"containers": [container]},
        }

    def deployment(self) -> Object:
        """The Deployment as the API gives it."""
        new = [p for p, revision in self.pods.items() if revision == len(self.revisions) - 1]
        own = ("metadata", "annotations")
        failed = self._reason == "ProgressDeadlineExceeded"
        condition = {"type": "Progressing", "reason": self._reason}
        condition |= {"status": "False" if failed else "True"}
        condition["message"] = f'ReplicaSet "serving-{len(self.revisions)}": {self._reason}.'
        condition["lastUpdateTime"] = self._said_at
        edited = {
            "manager": "a",
            "time": self._edited_at,
            "fieldsV1": {"f:spec": {"f:template": {}}},
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "resourceVersion": str(self._version),
                "generation": self._generation,
                "managedFields": [edited],
                "annotations": {
                    REVISION: str(len(self.revisions)),
                    **{p[-1]: v for p, v in self.fields.items() if p[:-1] == own},
                },
            },
            "spec": {
                "replicas": self.fields["spec", "replicas"],
                "progressDeadlineSeconds": self.fields["spec", "progressDeadlineSeconds"],
                "selector": {"matchLabels": {"app": NAME}},
                "template": self.template(),
            },
            "status": {
                "observedGeneration": self._observed,
                "replicas": len(self.pods),
                "updatedReplicas": len(new),
                "availableReplicas": len(self.ready),
                "conditions": [condition],
            },
        }

    def pod_list(self) -> Object:
        """The pods as the API gives them."""
        port = {"name": "http", "containerPort": self.pod_port}
        items = []
        for name, revision in self.pods.items():
            state: Object = {"running": {}}
            image = self.revisions[revision]["spec"]["containers"][0]["image"]
            if image not in self.images:
                state = {"waiting": {"reason": "ImagePullBackOff", "message": f'"{image}"'}}
            ready = {"type": "Ready", "status": "True" if name in self.ready else "False"}
            status = {"podIP": "127.0.0.1", "conditions": [ready]}
            started = "running" in state
            status["containerStatuses"] = [{"name": NAME, "state": state, "started": started}]
            spec = {"containers": [{"name": NAME, "image": image, "ports": [port]}]}
            items.append({"metadata": {"name": name}, "spec": spec, "status": status})
        return {"kind": "PodList", "items": items}

    def apply(self, body: Object, manager: str, force: bool) -> tuple[int, Object]:
        """Server-side apply: the status and the answer."""
        with self._changed:
            wanted = body.get("metadata", {}).pop("resourceVersion", str(self._version))
            if wanted != str(self._version):
                said = "the object has been modified; please apply your changes to the latest"
                return 409, {"reason": "Conflict", "message": said}
            about = {("apiVersion",), ("kind",), ("metadata", "name")}
            given = {path: v for path, v in _leaves(body) if path not in about}
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "field": "." + ".".join(path),
                    "message": f'conflict with "{owner}" using apps/v1',
                }
                for path, value in given.items()
                if self.fields.get(path, value) != value
                for owner in self.owners[path] - {manager}
            ]
            if causes and not force:
                said = f"Apply failed with {len(causes)} conflict: {causes[0]['message']}: "
                said += causes[0]["field"]
                details = {"causes": causes}
                return 409, {"reason": "Conflict", "message": said, "details": details}
            before = copy.deepcopy(self.fields)
            for path in [p for p, o in self.owners.items() if manager in o and p not in given]:
                self.owners[path].discard(manager)
                if not self.owners[path]:
                    del self.owners[path], self.fields[path]
            for path, value in given.items():
                others = self.owners.get(path, set()) if before.get(path) == value else set()
                self.owners[path], self.fields[path] = others | {manager}, value
            if changed := {path for path, _ in before.items() ^ self.fields.items()}:
                self._edit_of(changed)
            return 200, self.deployment()

    def hand_over_images(self) -> None:
        """Leave images to rollouts, with another one than before, as docs/rollout.md says."""
        self.apply(in_template(self.images[1]), "mlops-assets-image", force=True)

    def annotate(self, key: str, value: str) -> None:
        """Somebody else edits an annotation of the pod template."""
        self._edit((*ANNOTATIONS, key), value, "kubectl-edit")

    def scale(self, replicas: int) -> None:
        """The autoscaler wants so many pods."""
        self._edit(("spec", "replicas"), replicas, "autoscaler")

    def break_readiness(self) -> None:
        """No new pod turns ready from now on."""
        self.starts = False

    def _edit(self, path: Path, value: Any, manager: str) -> None:
        with self._changed:
            self.fields[path], self.owners[path] = value, {manager}
            self._edit_of({path})

    def _edit_of(self, changed: set[Path]) -> None:
        self._generation += any(path[0] == "spec" for path in changed)
        if any(path[: len(TEMPLATE)] == TEMPLATE for path in changed):
            self._edited_at = _now()
        self._bump()

    def _bump(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _control(self) -> None:
        """The controller of Deployments: no pod goes before a new one is ready."""
        while not self._ended:
            time.sleep(STEP_SECONDS)
            with self._changed:
                before = self.deployment()["status"]
                if not self.silent:
                    self._reconcile()
                if self.deployment()["status"] != before:
                    self._bump()

    def _reconcile(self) -> None:
        if self._observed != self._generation:
            self._observed = self._generation
            if (template := self.template()) not in self.revisions[-1:]:
                self.revisions.append(template)
                self._progressed = time.monotonic()
                return  # the condition is still that of the template before
        newest, wanted = len(self.revisions) - 1, self.fields["spec", "replicas"]
        new = [p for p, revision in self.pods.items() if revision == newest]
        old = [p for p in self.pods if p not in new]
        waiting = [p for p in new if p not in self.ready]
        # Failed starts of an older template go at once.
        if stuck := [p for p in old if p not in self.ready]:
            del self.pods[stuck[0]]
        elif waiting and self._starts(self.revisions[newest]):
            self.ready.add(waiting[0])
        elif not waiting and old and len(self.pods) > wanted:
            self.ready.discard(old[0])
            self.least = min(self.least, len(self.ready))
            del self.pods[old[0]]
        elif not waiting and len(new) < wanted:
            self._made += 1
            self.pods[f"serving-{self._made}"] = newest
        elif not waiting:
            self._say("NewReplicaSetAvailable")
            return
        else:
            deadline = self.fields["spec", "progressDeadlineSeconds"]
            if time.monotonic() - self._progressed > deadline:
                self._say("ProgressDeadlineExceeded")
            return
        self._progressed = time.monotonic()
        self._say("ReplicaSetUpdated")

    def _say(self, reason: str) -> None:
        if reason != self._reason:
            self._reason, self._said_at = reason, _now()

    def _starts(self, template: Object) -> bool:
        return self.starts and template["spec"]["containers"][0]["image"] in self.images

    def watch(self, since: int, seconds: float) -> Iterator[Object]:
        """What changes after a version, as events."""
        end = time.monotonic() + seconds
        while not self._ended and time.monotonic() < end:
            with self._changed:
                if self._version <= since:
                    self._changed.wait(end - time.monotonic())
                    continue
                since, found = self._version, self.deployment()
            yield {"type": "MODIFIED", "object": found}


def _handler(fake: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"

    class Handler(BaseHTTPRequestHandler):
        # A watch comes in chunks.
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = {key: value[0] for key, value in parse_qs(url.query).items()}
            if url.path == f"{deployments}/{NAME}" and not self._failed("get"):
                self._answer(200, fake.deployment())
            elif url.path == f"/api/v1/namespaces/{NAMESPACE}/pods" and not self._failed("list"):
                assert asked["labelSelector"] == f"app={NAME}"
                self._answer(200, fake.pod_list())
            elif url.path == deployments and not self._failed("watch"):
                assert asked["fieldSelector"] == f"metadata.name={NAME}"
                self._stream(int(asked["resourceVersion"]), float(asked["timeoutSeconds"]))

        def do_PATCH(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            assert self.headers["Content-Type"] == "application/apply-patch+yaml"
            asked = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            if not self._failed("patch"):
                is_forced = asked.get("force", "").lower() == "true"
                self._answer(*fake.apply(body, asked["fieldManager"], is_forced))

        def _failed(self, verb: str) -> bool:
            fake.requests.append(verb)
            planted = fake.failures.get(verb)
            if not planted:
                return False
            status, headers = planted.pop(0)
            self._answer(status, {"kind": "Status", "message": f"planted {status}"}, headers)
            return True

        def _answer(self, status: int, body: Object, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def _stream(self, since: int, seconds: float) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(OSError):
                if fake.drop_watches:
                    self._send_chunk(b'{"type": "MODIFI')
                    return
                for event in fake.watch(since, seconds):
                    self._send_chunk(json.dumps(event).encode() + b"\n")
                self._send_chunk(b"")

        def _send_chunk(self, content: bytes) -> None:
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
