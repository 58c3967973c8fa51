"""A small Hugging Face Hub on this machine, with faults on demand, for the real client.

    with HubServer() as hub:
        commit = hub.add_repo("datasets/owner/name", {"a.zip": b"..."})
        url = hub.add_file("anywhere/b.json", b"...")
        hub.fail("a.zip", "cut", after=1000)
        hf_hub_download("owner/name", "a.zip", repo_type="dataset", endpoint=hub.url)

It takes uploads too (a small part of the Hub's own routes), from those who have a token:

    hub.accounts["hf_mine"] = "owner"
    HfApi(endpoint=hub.url, token="hf_mine").upload_folder(repo_id="owner/name", folder_path=...)

`huggingface_hub` reads `HF_ENDPOINT` when it is imported: set it to `hub.url` for a new process, or
use `hub_of_this_process` within this one. Files of LFS_BYTES or more are answered as the Hub
answers files in Git LFS: by a redirect to another address, with the SHA-256 as the ETag.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.helpers.until import PATIENCE

LFS_BYTES = 100_000
Kind = Literal["cut", "held", "wrong", "status", "no range", "no head"]
TYPES = {"models": "", "datasets": "datasets/"}
"""How a kind of repository is called in `/api/...`, and how its address begins elsewhere."""


@dataclass(frozen=True)
class Request:
    """What a client sent: path without the query, the `Range` header, the token of `Bearer`."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Repo:
    """A model or a data set: its files, its one commit, and who may read it.

    gated: only requests with one of `tokens` are served; without a token the answer is 401, with
    another one 403.
    """

    files: dict[str, bytes]
    commit: str
    gated: bool = False
    tokens: frozenset[str] = frozenset()
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The files of earlier commits."""


@dataclass
class Fault:
    """What goes wrong with the next `times` downloads (GET) of a file."""

    kind: Kind
    times: int
    after: int
    status: int


class HubServer(http.server.ThreadingHTTPServer):
    """Serves repositories and plain files; `requests` is the log of what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.accounts: dict[str, str] = {}
        """Who may write: a token, and the owner it belongs to."""
        self.go_on = threading.Event()
        """Ends the wait of downloads that are held."""
        self._lock = threading.Lock()

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add_repo(
        self, name: str, files: dict[str, bytes], gated: bool = False, tokens: tuple[str, ...] = ()
    ) -> str:
        """Serve `owner/name` (a model) or `datasets/owner/name`; returns the commit."""
        said = [f"{path} {hashlib.sha1(files[path]).hexdigest()}" for path in sorted(files)]
        commit = hashlib.sha1("\n".join([name, *said]).encode()).hexdigest()
        self.repos[name] = Repo(dict(files), commit, gated, frozenset(tokens))
        return commit

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        """Replace all files of a repository; the earlier commit stays. Returns the new one."""
        old = self.repos[name]
        commit = self.add_repo(name, files, old.gated, tuple(old.tokens))
        new = self.repos[name]
        new.private, new.commits = old.private, {**old.commits, old.commit: old.files}
        return commit

    def add_file(self, path: str, content: bytes) -> str:
        """Serve a plain file; returns its address."""
        self.files[path] = content
        return f"{self.url}/{path}"

    def fail(
        self, path: str, kind: Kind, times: int = 1, after: int = 0, status: int = 500
    ) -> None:
        """Let downloads of a file (its path in its repository, or of a plain file) go wrong.

        cut: the connection ends after `after` bytes; wrong: other bytes of the same length; held:
        nothing comes until `go_on` is set; status: an error with that number; no range: it is
        sent from the beginning whatever was asked for; no head: HEAD is refused, for good.
        """
        self.faults[path] = Fault(kind, times, after, status)

    def downloads(self, path: str) -> list[Request]:
        """The log's GET requests for the content of a file, redirected ones once."""
        with self._lock:
            return [
                r for r in self.requests if r.method == "GET" and r.path.endswith(f"/{path}!body")
            ]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is nothing to print."""


def git_blob(content: bytes) -> str:
    """The id that Git gives a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub_of_this_process(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[HubServer]:
    """A Hub that the client in this process is pointed at, with an empty cache of its own."""
    from huggingface_hub import constants

    with HubServer() as server:
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        """Uploads, for those who have a token."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._log(path)
        if path == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        owner = self.server.accounts.get(self._token())
        if owner is None:
            return self._error(401, "", "Invalid credentials in Authorization header")
        if path == "api/repos/create":
            return self._create(owner, json.loads(body))
        api = re.fullmatch(r"api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if api is None or api[1] not in self.server.repos:
            return self._error(404, "RepoNotFound", "Repository not found")
        if api[1].partition("/")[0] != owner:
            return self._error(403, "", "You have no write access to this repository")
        if api[2] == "preupload":
            files = json.loads(body)["files"]
            modes = [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._json({"files": modes})
        self._commit(api[1], [json.loads(line) for line in body.splitlines()])

    # Which route it is.

    def _route(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/")
        self._log(path)
        if path in self.server.files:
            return self._content(path, self.server.files[path], {})
        if path.startswith("lfs/"):  # where `_resolve` sent a client for a large file
            place, file = path.removeprefix("lfs/").split("//", 1)
            commit, name = place.split("/", 1)
            repo = self.server.repos[name]
            return self._content(file, repo.commits.get(commit, repo.files)[file], {})
        api = re.fullmatch(r"api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)", path)
        if api:
            return self._tree(TYPES[api[1]] + api[2], api[3])
        info = re.fullmatch(r"api/models/([^/]+/[^/]+)(?:/revision/main)?", path)
        if info:
            return self._info(info[1])
        file_ = re.fullmatch(r"((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if file_:
            return self._resolve(*file_.groups())
        self._error(404, "", "Not Found")

    def _log(self, path: str) -> None:
        with self.server._lock:
            span, token = self.headers.get("Range"), self._token() or None
            request = Request(self.command, f"/{path}", span, token)
            self.server.requests.append(request)

    def _repo(self, name: str, revision: str) -> Repo | None:
        """The repository, where this client may read it; else an error is sent."""
        repo, token = self.server.repos.get(name), self._token()
        if token and self.server.accounts and token not in self.server.accounts:
            self._error(401, "", "Invalid credentials in Authorization header")
            return None
        owner = self.server.accounts.get(token)
        if repo is None or (repo.private and owner != name.partition("/")[0]):
            self._error(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        if revision in repo.commits:
            return replace(repo, files=repo.commits[revision], commit=revision)
        if revision not in ("main", repo.commit):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _allowed(self, repo: Repo) -> bool:
        token = self._token()
        if not repo.gated or token in repo.tokens:
            return True
        said = "Access to this repository is restricted. "
        self._error(403 if token else 401, "GatedRepo", said + "Ask for access on its page.")
        return False

    # The routes.

    def _info(self, name: str) -> None:
        repo = self._repo(name, "main")
        if repo is not None:
            files = [{"rfilename": path} for path in sorted(repo.files)]
            self._json({"id": name, "sha": repo.commit, "private": repo.private, "siblings": files})

    def _create(self, owner: str, told: dict[str, Any]) -> None:
        name = f"{told['organization'] or owner}/{told['name']}"
        if name.partition("/")[0] != owner:
            return self._error(403, "", "You don't have the rights to create a model there")
        if name in self.server.repos:
            return self._error(409, "", "You already created this model repo")
        self.server.add_repo(name, {})
        private = told.get("visibility") == "private" or told.get("private") is True
        self.server.repos[name].private = private
        self._json({"url": f"{self.server.url}/{name}", "name": name})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = dict(self.server.repos[name].files)
        for line in lines:
            if line["key"] == "deletedFile":
                files.pop(line["value"]["path"])
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = self.server.commit(name, files)
        url = f"{self.server.url}/{name}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": url})

    def _json(self, said: Any) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    def _tree(self, name: str, revision: str) -> None:
        """The list of a repository's files."""
        repo = self._repo(name, revision)
        if repo is not None:
            listed = [
                {"type": "file", "oid": git_blob(content), "size": len(content), "path": path}
                for path, content in sorted(repo.files.items())
            ]
            self._json(listed)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._repo(name, revision)
        if repo is None or not self._allowed(repo):
            return
        headers = {"X-Repo-Commit": repo.commit}
        if file not in repo.files:
            return self._error(404, "EntryNotFound", "Entry not found", headers)
        content = repo.files[file]
        if len(content) < LFS_BYTES:
            return self._content(file, content, {**headers, "ETag": f'"{git_blob(content)}"'})
        headers["X-Linked-Size"] = str(len(content))
        headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        # Another host name for the same server, as the Hub's files come from other hosts too.
        headers["Location"] = f"http://localhost:{self.server.server_port}/lfs/" + (
            urllib.parse.quote(f"{repo.commit}/{name}//{file}")
        )
        self._answer(302, headers, b"")

    # Answers.

    def _content(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        if self.command == "HEAD":
            fault = self.server.faults.get(path)
            if fault is not None and fault.kind == "no head":
                return self._error(405, "", "Method Not Allowed")
            headers = {**headers, "Accept-Ranges": "bytes"}
            return self._answer(200, headers, content)
        self._log(f"{path}!body")
        fault = self._fault(path)
        if fault is not None and fault.kind == "status":
            return self._error(fault.status, "", "as asked")
        if fault is not None and fault.kind == "wrong":
            content = bytes(255 - byte for byte in content)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, end, status = 0, len(content), 200
        if span and not (fault is not None and fault.kind == "no range"):
            start, end = int(span[1]), int(span[2] or end - 1) + 1
            if start >= len(content):
                return self._error(416, "", "Range Not Satisfiable")
            sent = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
            status, headers = 206, {**headers, "Content-Range": sent}
        self._answer(status, headers, content[start:end], fault)

    def _fault(self, path: str) -> Fault | None:
        with self.server._lock:
            fault = self.server.faults.get(path)
            if fault is None or fault.times == 0:
                return None
            fault.times -= 1
            return fault

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.kind == "cut":
            self.wfile.write(body[: fault.after])
            self.close_connection = True
            return
        if fault is not None and fault.kind == "held":
            self.server.go_on.wait(PATIENCE)
        self.wfile.write(body)

    def _error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        body = json.dumps({"error": message}).encode()
        self._answer(status, {**(headers or {}), **said}, body)
