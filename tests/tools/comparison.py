"""A tiny suite and invented reports for the tests of tools/compare."""

import yaml

RATES = [(4, 2), (4, 5), (16, 2), (16, 5)]
WORDS = [6, 6, 4]


def write_suite(path, recipe, /, **changes):
    """A suite of three methods over a recipe of tests/avsr/train/folders.py."""
    recipe = {
        key: dict(value) if isinstance(value, dict) else value for key, value in recipe.items()
    }
    recipe["model"] = {k: v for k, v in recipe["model"].items() if k != "schedule"}
    recipe["model"]["schedule"] = {"projector_lr": 0.01, "warmup": 1}
    for key in ("callbacks", "logger", "max_steps"):
        recipe["trainer"].pop(key)
    manifest = recipe["data"]["train"][0]["manifest"]
    told = {
        "name": "tiny",
        "steps": 2,
        "seeds": [0, 1],
        "guess": {"start": 10, "step": 5.0, "evaluate": 100},
        "recipe": recipe,
        "lip_encoder": None,
        "learning_rates": {
            "mome": {"lr": 0.01, "how": "guessed"},
            "low-rank": {"lr": 0.02, "how": "guessed"},
        },
        "sweep": {"steps": 2, "rates": {"low-rank": [0.01, 0.02, 0.04], "mome": [0.01]}},
        "evaluation": {
            "manifest": manifest,
            "corpus": "tones",
            "split": "test",
            "tasks": ["a"],
            "snrs": ["clean", 0],
            "noise": None,
            "batch_size": 2,
        },
        "baselines": ["mtsk-ss"],
        "runs": {
            "mome-layer": {"title": "MoME", "kind": "mome", "seeds": 2},
            "mtsk-ss": {
                "title": "SS",
                "kind": "low-rank",
                "set": {"model": {"model": {"method": "mtsk-ss"}}},
            },
            "twin": {"title": "Twin", "kind": "low-rank", "same_as": "mtsk-ss"},
            "slow": {"title": "Slow", "kind": "mome", "cost": 8},
        },
    }
    path.write_text(yaml.safe_dump({**told, **changes}))
    return path


def report(method, errors, *, suite="grid", digest="x", seed=0, pair=None, active=10, rates=RATES):
    """A report whose utterances have these errors, all of them substitutions.

    Args:
        method: its name; its title is that in capitals.
        errors: (audio, video, snr) -> errors of each utterance, or one list for every condition.
    """
    rows = []
    for audio, video in rates:
        for snr in (None, -5.0, 5.0):
            own = errors[audio, video, snr] if isinstance(errors, dict) else errors
            rows.append(
                {
                    "task": "av",
                    "rates": {"audio": audio, "video": video},
                    "snr_db": snr,
                    "wer": sum(own) / sum(WORDS),
                    "interval": [0.0, 1.0],
                    "tokens_per_second": 50 / audio + 25 / video,
                    "decode_tokens_per_second": 8.0,
                    "truncated": 0,
                    "utterances": {
                        "S": own,
                        "D": [0] * len(own),
                        "I": [0] * len(own),
                        "words": WORDS,
                    },
                }
            )
    name = f"{method}-s{seed}" if pair is None else f"{method}-{pair}-s{seed}"
    return {
        "schema": "avsr.compare/1",
        "suite": suite,
        "suite_sha256": digest,
        "run": name,
        "recipe_sha256": "y",
        "method": method,
        "title": method.upper(),
        "kind": "mome",
        "seed": seed,
        "pair": pair,
        "steps": 300,
        "learning_rate": 0.1,
        "command": ["python", "tools/compare.py", "--only", name],
        "git_commit": "abc",
        "training": {"seconds_per_step": 2.0},
        "parameters": {"active": active, "stored": 3 * active, "projectors": 5},
        "evaluation": {"clips": len(WORDS), "failed": 0, "seconds": 60.0},
        "ids": ["one", "two", "three"],
        "rows": rows,
    }
