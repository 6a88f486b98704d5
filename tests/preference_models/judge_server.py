"""A real chat-completions server on 127.0.0.1 that knows the truth and misbehaves on demand."""

import json
import re
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

QUESTION = re.compile(r"\[Prompt\]\n(.*?)\n\n\[Response A\]\n(.*?)\n\n\[Response B\]\n(.*?)\n\n\[Question\]", re.DOTALL)


def completion(content, *, finish="stop", usage=True, **more):
    answer = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish, **more}]}
    return answer | ({"usage": {"prompt_tokens": 100, "completion_tokens": 1}} if usage else {})


def letter(body, payoff):
    """The honest answer: the payoff (first over second) as a letter."""
    prompt, first, second = QUESTION.search(body["messages"][-1]["content"]).groups()
    value = payoff(prompt, first, second)
    return completion("A" if value > 0 else "B" if value < 0 else "C")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        server = self.server
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        with server.lock:
            server.requests.append((self.path, dict(self.headers), body))
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
            server.asked[raw] += 1
            fault = server.fault(body, server.asked[raw])
        try:
            self.answer(body, fault)
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self, body, fault):
        kind, *options = (fault or "none").split()
        honest = json.dumps(self.server.reply(body)).encode()
        if kind == "slow":
            time.sleep(float(options[0]))
        if kind == "rate":
            self.send(429, b"slow down", {"Retry-After": options[0]})
        elif kind == "status":
            self.send(int(options[0]), f"error {self.headers.get('Authorization')}".encode())
        elif kind == "say":  # a well-formed answer that is no verdict
            self.send(200, json.dumps(completion(" ".join(options))).encode())
        elif kind == "garbage":
            self.send(
                200, [b"<html>oops</html>", b"{}", b'{"choices": []}', b"[1]", b'{"choices": [7]}'][int(options[0])]
            )
        elif kind == "cut":  # before a word is said
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif kind == "half":  # in the middle of the body
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(honest)}\r\n\r\n".encode()
            self.wfile.write(head + honest[: len(honest) // 2])
            self.close_connection = True
        else:
            self.send(200, honest)

    def send(self, status, content, headers=None):
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # a client that did not wait
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, *_):
        pass


@contextmanager
def judge_server(reply, fault=lambda body, times: None):
    """Serve `reply(body) -> completion`; `fault(body, how often asked)` names a fault or None."""
    server = Server(("127.0.0.1", 0), Handler)
    server.reply, server.fault = reply, fault
    server.lock, server.requests, server.asked = threading.Lock(), [], Counter()
    server.busy = server.busiest = 0
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
