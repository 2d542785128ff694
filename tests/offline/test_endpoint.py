import itertools
import json
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.offline.asking import ask, connect, question
from tests.offline.watched import endpoint


def test_a_completion_looks_like_any_other_endpoints():
    with endpoint() as stand_in:
        heard = ask(stand_in.port, question())
    choice = heard.json["choices"][0]
    assert heard.status == 200
    assert heard.json["object"] == "chat.completion"
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert "```bash" in choice["message"]["content"]
    usage = heard.json["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_a_stream_says_the_same_as_a_plain_reply():
    with endpoint() as stand_in:
        plain = ask(stand_in.port, question())
        heard = ask(stand_in.port, question(stream=True, stream_options={"include_usage": True}))
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in heard.events if event["choices"])
    assert heard.headers["content-type"] == "text/event-stream"
    assert said == plain.json["choices"][0]["message"]["content"]
    assert heard.events[-2]["choices"][0]["finish_reason"] == "stop"
    assert heard.events[-1]["usage"] == plain.json["usage"]
    assert heard.body.endswith(b"data: [DONE]\n\n")


def test_a_stream_has_usage_only_when_asked():
    with endpoint() as stand_in:
        heard = ask(stand_in.port, question(stream=True))
    assert all("usage" not in event for event in heard.events)


def test_every_reply_says_that_a_stand_in_wrote_it():
    with endpoint() as stand_in:
        assert ask(stand_in.port, question(model="moonshotai/K")).json["model"] == "offline-stand-in/moonshotai/K"
        own = question(model="offline-stand-in/king")
        assert ask(stand_in.port, own).json["model"] == "offline-stand-in/king"


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_routes_answer_with_and_without_v1(prefix):
    with endpoint() as stand_in:
        assert ask(stand_in.port, question(), prefix + "/chat/completions").status == 200
        assert "offline-stand-in/judge-a" in ask(stand_in.port, path=prefix + "/models").body.decode()
        assert stand_in.stats()["requests"] == 1


def test_an_unknown_route_is_404():
    with endpoint() as stand_in:
        assert ask(stand_in.port, path="/v1/embeddings").status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "m"}', b'{"model": "m", "messages": []}', b"\xff"])
def test_what_is_not_a_completion_request_is_400(body):
    with endpoint() as stand_in:
        assert ask(stand_in.port, body).status == 400


def test_one_connection_serves_many_requests():
    with endpoint() as stand_in:
        connection = connect(stand_in.port)
        for number in range(5):
            connection.request("POST", "/v1/chat/completions", json.dumps(question(f"{number}")).encode())
            assert connection.getresponse().read()
        connection.close()
        assert stand_in.stats()["unique_ok"] == 5


def test_a_request_is_the_same_whether_streamed_or_not():
    with endpoint() as stand_in:
        ask(stand_in.port, question())
        ask(stand_in.port, question(stream=True, stream_options={"include_usage": True}))
        ask(stand_in.port, question("other"))
        stats = stand_in.stats()
    assert (stats["requests"], stats["unique_ok"], stats["extra_ok"], stats["requests_after_ok"]) == (3, 2, 1, 1)


def test_headers_are_kept_to_look_at():
    with endpoint() as stand_in:
        ask(stand_in.port, question(), Authorization="Bearer one")
        assert stand_in.seen[0].headers["authorization"] == "Bearer one"
        assert stand_in.stats()["authorizations"] == {"Bearer one": 1}


def test_a_wrong_key_is_refused_and_not_repeated():
    with endpoint(expected_key="right") as stand_in:
        heard = ask(stand_in.port, question(), Authorization="Bearer cpk_wrong")
        assert heard.status == 401
        assert b"cpk_wrong" not in heard.body
        assert ask(stand_in.port, question(), Authorization="Bearer right").status == 200


def test_an_unknown_model_is_refused_and_the_known_are_listed():
    with endpoint(models=("one", "two")) as stand_in:
        assert ask(stand_in.port, question(model="three")).status == 404
        listed = ask(stand_in.port, path="/v1/models").json["data"]
    assert [model["id"] for model in listed] == ["one", "two"]


def test_a_reply_is_cut_at_its_budget():
    with endpoint() as stand_in:
        choice = ask(stand_in.port, question(max_tokens=3)).json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"]) == 12


def test_usage_does_not_depend_on_what_was_asked_before():
    with endpoint() as stand_in:
        first, second = (ask(stand_in.port, question("x" * 5000)) for _ in range(2))
    assert first.json["usage"] == second.json["usage"]


def test_beyond_its_capacity_it_refuses():
    with endpoint(capacity=1, latency_s=30) as stand_in:
        waiting = connect(stand_in.port)
        waiting.request("POST", "/v1/chat/completions", json.dumps(question("first")).encode())
        while stand_in.stats()["inflight"] == 0:
            pass
        assert ask(stand_in.port, question("second")).status == 429
        waiting.close()


def test_a_client_that_goes_away_is_counted():
    with endpoint(latency_s=30) as stand_in:
        waiting = connect(stand_in.port)
        waiting.request("POST", "/v1/chat/completions", json.dumps(question()).encode())
        while stand_in.stats()["inflight"] == 0:
            pass
        waiting.close()
        while stand_in.stats()["inflight"]:
            pass
        assert stand_in.stats()["client_aborted"] == 1
        assert stand_in.stats()["unique_ok"] == 0


def test_many_at_once_are_all_answered():
    with endpoint() as stand_in:
        threads = [threading.Thread(target=ask, args=(stand_in.port, question(f"{i}"))) for i in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stand_in.stats()["unique_ok"] == 30


def test_replies_can_be_given():
    with endpoint(reply=lambda body: body["messages"][-1]["content"].upper()) as stand_in:
        assert ask(stand_in.port, question("loud")).json["choices"][0]["message"]["content"] == "LOUD"


def test_a_mistake_in_a_given_reply_is_a_500_and_no_endless_wait():
    with endpoint(reply=lambda body: body["nothing"]) as stand_in:
        assert ask(stand_in.port, question()).status == 500


def test_a_taken_port_is_an_error_at_once():
    with endpoint() as stand_in, pytest.raises(OSError, match="in use"), endpoint(port=stand_in.port):
        pass


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 400), max_size=6), text=st.text(max_size=60))
def test_a_request_may_arrive_in_any_pieces(server, cuts, text):
    body = json.dumps(question(text)).encode()
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(
        body
    )
    raw += body
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        for start, end in itertools.pairwise(edges):
            wire.sendall(raw[start:end])
        heard = b"".join(iter(lambda: wire.recv(65536), b""))
    assert heard.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"400"),
    ],
)
def test_what_is_not_http_is_refused(server, raw, status):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        wire.sendall(raw)
        assert wire.recv(65536).split(b" ")[1] == status


@pytest.fixture(scope="module")
def server():
    with endpoint() as stand_in:
        yield stand_in
