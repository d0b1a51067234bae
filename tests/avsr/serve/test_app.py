"""From an upload to transcripts, tables, plots and files: what each route promises."""

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from itertools import product

import numpy as np
import pytest

from avsr.rates import Rates
from avsr.transcript import SCHEMA
from experts import MomeConfig
from frontends.noise import measured_snr
from tests.avsr.serve.pages import BASE, last, lines, tiny_recogniser


def test_an_upload_becomes_a_transcript_of_its_words(client, send, ask, recogniser):
    clip = last(send(client))
    assert (clip["name"], clip["modality"]) == ("both.mkv", "av")
    assert clip["seconds"] == pytest.approx(0.6)
    made = last(ask(client, clip["id"], "readings"))
    assert made["rates"] == {"audio": 4, "video": 2}
    assert (made["tokens"]["audio"], made["tokens"]["video"]) == (8, 8)
    assert [word["text"] for word in made["words"]] == made["text"].split()
    assert all(0 <= word["confidence"] <= 1 for word in made["words"])
    assert made["text"]
    assert made["seconds"] > 0


def test_the_transcript_is_the_librarys(client, send, ask, recogniser, clips, tmp_path):
    """Through the page or by the library: the same words."""
    path = tmp_path / "both.mkv"
    path.write_bytes(clips["both"])
    clip = last(send(client))["id"]
    for modality, rates in (("av", Rates(16, 2)), ("a", Rates(4, None)), ("v", Rates(None, 5))):
        chosen = {"audio_rate": rates.audio, "video_rate": rates.video}
        made = last(ask(client, clip, "readings", modality=modality, **chosen))
        ready = recogniser.prepare(path, modality=modality, roi="given")
        (truth,) = recogniser.recognise([ready], rates=rates)
        assert made["text"] == truth.text
        sure = [word.confidence for word in truth.segments[0].words]
        assert [word["confidence"] for word in made["words"]] == pytest.approx(sure, abs=1e-4)
        stored = client.get(f"/api/clips/{clip}/readings/{made['id']}.json").json()
        assert stored["input"]["sha256"] == hashlib.sha256(clips["both"]).hexdigest()


def test_the_library_tells_the_hash_of_a_file(recogniser, clips, tmp_path):
    path = tmp_path / "sound.wav"
    path.write_bytes(clips["sound"])
    (made,) = recogniser.transcribe([path], roi="given")
    assert made.input["sha256"] == hashlib.sha256(clips["sound"]).hexdigest()


def test_towers_run_once_whatever_is_asked_afterwards(client, send, ask, recogniser):
    clip = last(send(client))["id"]
    towers = recogniser.audio_tower, recogniser.video_tower
    for modality in ("av", "a", "v"):
        ask(client, clip, "readings", modality=modality)
    ask(client, clip, "rates")
    ask(client, clip, "experts", audio_rate=16)
    assert [tower.runs for tower in towers] == [1, 1]
    noise = {"noise": "white", "snr": 0}
    ask(client, clip, "rates", **noise)
    ask(client, clip, "readings", modality="a", **noise)
    assert [tower.runs for tower in towers] == [2, 1]  # new sound, the same lips


def test_all_rate_pairs_come_row_by_row(client, send, ask):
    clip = last(send(client))["id"]
    events = ask(client, clip, "rates")
    rows = [event["row"] for event in events if event["event"] == "row"]
    pairs = [(row["rates"]["audio"], row["rates"]["video"]) for row in rows]
    assert pairs == list(product((4, 16), (2, 5)))
    assert [row["tokens"]["audio"] for row in rows] == [8, 8, 2, 2]  # 30 frames, the tail kept
    assert [row["tokens"]["video"] for row in rows] == [8, 3, 8, 3]  # 15
    assert last(events) == {"rows": 4}
    for row in rows:
        rates = {f"{kind}_rate": rate for kind, rate in row["rates"].items()}
        alone = last(ask(client, clip, "readings", **rates))
        assert (alone["text"], alone["seconds"]) == (row["text"], row["seconds"])
    assert last(ask(client, clip, "rates", modality="v")) == {"rows": 2}


def test_the_same_settings_are_answered_the_same(client, send, ask):
    clip = last(send(client))["id"]
    first, again = (ask(client, clip, "readings", noise="babble", snr=-3.5) for _ in range(2))
    assert last(first) == last(again)


def test_noise_is_as_loud_as_asked_and_the_lips_hear_none(client, send, ask):
    clip = last(send(client))["id"]
    held = client.server.shelf.get(clip)
    for kind, snr in (("white", 0), ("babble", -7.5), ("white", 12)):
        ask(client, clip, "readings", noise=kind, snr=snr)
        noisy = next(reversed(held._takes.values()))
        added = noisy.wave.astype(np.float64) - held.clean.wave
        assert measured_snr(held.clean.wave, added) == pytest.approx(snr, abs=0.01)
        assert noisy.video is held.clean.video
    takes = len(held._takes)
    quiet = last(ask(client, clip, "readings", modality="v"))
    assert last(ask(client, clip, "readings", modality="v", noise="white", snr=0)) == quiet
    assert len(held._takes) == takes


def test_expert_use_has_a_plot_for_each_kind_of_token(client, send, ask):
    clip = last(send(client))["id"]
    use = last(ask(client, clip, "experts", audio_rate=16, video_rate=5))
    assert (use["routed"], use["top_k"], use["rates"]) == (4, 2, {"audio": 16, "video": 5})
    assert (use["tokens"]["audio"], use["tokens"]["video"]) == (2, 3)
    assert set(use["plots"]) == {"all", "audio", "video", "text", "prompt"}
    for plot in use["plots"].values():
        assert ElementTree.fromstring(plot).tag.endswith("svg")
    np.testing.assert_allclose(np.sum(use["share"]["all"], axis=1), 2, atol=1e-3)
    sound = last(ask(client, clip, "experts", modality="a"))
    assert set(sound["plots"]) == {"all", "audio", "text", "prompt"}


@pytest.mark.parametrize("form", ["srt", "vtt", "txt", "json"])
def test_a_transcript_can_be_downloaded(client, send, ask, form):
    clip = last(send(client, name="día 1.mkv"))["id"]
    made = last(ask(client, clip, "readings", audio_rate=16))
    answer = client.get(f"/api/clips/{clip}/readings/{made['id']}.{form}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].endswith(f"d%C3%ADa%201.{form}")
    if form == "json":
        stored = json.loads(answer.text)
        assert (stored["schema"], stored["text"]) == (SCHEMA, made["text"])
        assert stored["input"]["path"] == "día 1.mkv"
        assert stored["rates"] == made["rates"]
    else:
        assert made["text"].split()[0] in answer.text
    if form == "srt":
        assert answer.text.startswith("1\n00:00:00,000 --> 00:00:00,600\n")


def test_the_mouth_is_what_the_lip_encoder_saw(client, send):
    import cv2

    clip = last(send(client))
    assert clip["mouth"] == {"crops": 15, "columns": 25, "fps": 25}
    answer = client.get(f"/api/clips/{clip['id']}/mouth.png")
    assert answer.headers["content-type"] == "image/png"
    sheet = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    crops = client.server.shelf.get(clip["id"]).clean.crops
    assert sheet.shape == (96, 25 * 96)
    for number in (0, 7, 14):
        part = sheet[:, number * 96 : (number + 1) * 96]
        np.testing.assert_array_equal(part, crops[number])


@pytest.mark.parametrize(("which", "modality"), [("lips", "v"), ("sound", "a")])
def test_a_clip_with_less_is_read_from_what_it_has(client, send, ask, which, modality):
    clip = last(send(client, which))
    assert clip["modality"] == modality
    assert last(ask(client, clip["id"], "readings"))["modality"] == modality
    refused = last(ask(client, clip["id"], "readings", modality="av"), "error")
    assert "alone" in refused["what"]
    if modality == "v":
        told = last(ask(client, clip["id"], "readings", noise="white", snr=0))
        assert told["modality"] == "v"  # there is nothing that could be noisy
    else:
        assert client.get(f"/api/clips/{clip['id']}/mouth.png").status_code == 404


def test_an_untrained_rate_is_refused_with_the_list(client, send, ask):
    clip = last(send(client))["id"]
    refused = last(ask(client, clip, "readings", audio_rate=7), "error")
    assert refused["what"] == "audio rate 7 was not trained"
    assert "4, 16" in refused["todo"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not JSON"),
        (b"[" * 4000, "not JSON"),
        (b"[]", "the settings are none"),
        (b'{"rate": 4}', "the settings are none"),
        (b'{"modality": "x"}', "no modality 'x'"),
        (b'{"modality": ["a"]}', "no modality"),
        (b'{"audio_rate": "4"}', "not a whole number"),
        (b'{"audio_rate": true}', "not a whole number"),
        (b'{"audio_rate": 0}', "audio"),
        (b'{"noise": "white"}', "needs a kind and an SNR"),
        (b'{"noise": "pink", "snr": 0}', "no noise 'pink'"),
        (b'{"noise": "white", "snr": NaN}', "an SNR of nan"),
        (b'{"noise": "white", "snr": 1e400}', "an SNR of inf"),
        (b'{"noise": "white", "snr": -21}', "an SNR of -21.0"),
    ],
)
def test_settings_that_are_none_are_refused(client, send, body, told):
    clip = client.get("/api/clips/x")  # the clip is looked for first
    assert clip.status_code == 404
    clip = last(send(client, "sound"))["id"]
    answer = client.post(f"/api/clips/{clip}/readings", content=body)
    if answer.status_code == 200:  # refused where the rates are chosen
        error = json.loads(answer.text.splitlines()[-1])["error"]
    else:
        assert answer.status_code == 400
        error = answer.json()["error"]
    assert told in error["what"]


def test_settings_of_many_bytes_are_not_read(client, send):
    clip = last(send(client, "sound"))["id"]
    assert client.post(f"/api/clips/{clip}/rates", content=b" " * 5000).status_code == 413


@pytest.mark.parametrize("path", ["/api/clips/none", "/api/clips/none/mouth.png", "/etc/passwd"])
def test_what_is_not_there_is_told_in_json(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["what"]


def test_a_clip_can_be_forgotten_and_the_oldest_is(opened, send):
    with opened(kept=2) as client:
        first, second = (last(send(client, "sound"))["id"] for _ in range(2))
        assert client.get(f"/api/clips/{first}").status_code == 200  # now the second is older
        third = last(send(client, "sound"))["id"]
        found = [client.get(f"/api/clips/{c}").status_code for c in (first, second, third)]
        assert found == [200, 404, 200]
        for _ in range(2):
            assert client.delete(f"/api/clips/{first}").status_code == 204
        assert client.get(f"/api/clips/{first}").status_code == 404


def test_a_fault_of_ours_shows_no_trace(client, send, ask, recogniser, monkeypatch, caplog):
    clip = last(send(client, "sound"))["id"]

    def broken(*args, **settings):
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(recogniser, "explain", broken)
    answer = client.post(f"/api/clips/{clip}/readings", json={})
    assert "secret" not in answer.text
    assert (
        "inside the server"
        in last([json.loads(x) for x in answer.text.splitlines()], "error")["what"]
    )
    assert "secret of the house" in caplog.text


def test_a_model_without_routers_says_so_and_reads_on(clips):
    from starlette.testclient import TestClient

    from avsr.serve.app import make_app

    with TestClient(make_app(tiny_recogniser(method="lora")), base_url=BASE) as client:
        sent = client.post("/api/clips", files={"clip": ("x.wav", clips["sound"])})
        clip = last(lines(sent))["id"]
        refused = last(lines(client.post(f"/api/clips/{clip}/experts", json={})), "error")
        assert "routes nothing" in refused["what"]
        assert last(lines(client.post(f"/api/clips/{clip}/readings", json={})))["text"]


def test_routers_of_a_rate_pair_each_are_read_too(clips):
    from starlette.testclient import TestClient

    from avsr.serve.app import make_app

    own = MomeConfig(routed=4, top_k=2, rank=4, routers="scale")
    with TestClient(make_app(tiny_recogniser(mome=own)), base_url=BASE) as client:
        sent = client.post("/api/clips", files={"clip": ("x.wav", clips["sound"])})
        clip = last(lines(sent))["id"]
        asked = client.post(f"/api/clips/{clip}/experts", json={"audio_rate": 16})
        assert last(lines(asked))["tokens"]["audio"] == 2


def test_model_facts_are_what_controls_may_ask(client, recogniser):
    facts = client.get("/api/model").json()
    assert facts["rates"] == {"audio": [4, 16], "video": [2, 5]}
    assert facts["noise"]["kinds"] == ["white", "babble"]
    assert facts["calibrated"] is False
    assert facts["limits"]["seconds"] == recogniser.audio_tower.max_seconds == 30
    assert facts["limits"]["bytes"] == 2**30


def test_a_sheet_of_crops_is_filled_up_with_black():
    import cv2

    from avsr.serve.views import sheet

    crops = np.full((26, 96, 96), 200, np.uint8)
    found = cv2.imdecode(np.frombuffer(sheet(crops), np.uint8), 0)
    assert found.shape == (2 * 96, 25 * 96)
    assert (found[96:, 96:] == 0).all()
    assert (found[96:, :96] == 200).all()
