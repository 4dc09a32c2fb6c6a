"""``flowstone metrics`` prints, writes and serves; ``run --metrics`` serves its own; ``catalogue`` gives dashboard and alerts."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from flowstone.cli import metrics as verb
from flowstone.observability.prometheus.grafana import dashboard
from flowstone.observability.prometheus.rule_files import rule_tests_file, rules_file

TOKEN = "0123456789abcdef"


def totals(text, name="flowstone_materialization"):
    """The samples of one metric, by asset and outcome."""
    (family,) = [family for family in parsed(text) if family.name == name]
    return {(s.labels["asset"], s.labels["outcome"]): s.value for s in family.samples}


def test_what_happened_is_printed(shop, cli):
    """The text tells every materialization of the project's runs once; asking again tells the same."""
    first, again = cli("metrics"), cli("metrics")

    assert first.code == 0
    assert totals(first.out) == totals(again.out)
    assert (
        totals(first.out)["broken", "failed"]
        == totals(first.out)["behind", "skipped"]
        == totals(first.out)["total", "success"]
        == 1
    )


def test_openmetrics_leads_to_the_run(shop, cli):
    """OpenMetrics names, beside a figure, a run that made it; the text format does not."""
    lines = cli("metrics", "--openmetrics").out.splitlines()
    (failed,) = [line for line in lines if line.startswith('flowstone_materialization_total{asset="broken"')]

    assert re.search(r' 1\.0 # \{run_id="(run_\w+)",trace_id="[0-9a-f]{32}"\}', failed)[1] in shop.runs
    assert lines[-1] == "# EOF"
    assert " # {" not in cli("metrics").out


def test_json_is_one_family_a_line(shop, cli):
    """As JSON each family has its type, help, unit and samples; a histogram's buckets add up to its count."""
    rows = {row["name"]: row for row in cli("metrics", "--json").rows}
    text = cli("metrics").out
    (took,) = [s for s in rows["flowstone_run_duration_seconds"]["samples"] if s["labels"]["outcome"] == "partial"]

    assert {
        (s["labels"]["asset"], s["labels"]["outcome"]): s["value"] for s in rows["flowstone_materialization_total"]["samples"]
    } == totals(text)
    assert (took["buckets"][-1], took["count"]) == ({"le": "+Inf", "count": took["count"]}, took["buckets"][-1]["count"])
    assert [bucket["count"] for bucket in took["buckets"]] == sorted(bucket["count"] for bucket in took["buckets"])
    assert {row["type"] for row in rows.values()} == {"counter", "gauge", "histogram"}
    assert rows["flowstone_run_duration_seconds"]["unit"] == "seconds"


def test_a_textfile_is_there_at_once_or_not_at_all(own, cli, monkeypatch):
    """The file is put in place whole: what was there stays when writing fails, and nothing is left beside it."""
    path = own.folder / "out" / "flowstone.prom"
    path.parent.mkdir()
    path.write_text("before")
    seen = []
    replace = type(path).replace

    def failing(beside, target):
        seen.append((beside.suffix, path.read_text()))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", failing)
    refused = cli("metrics", "--textfile", str(path))
    monkeypatch.setattr(type(path), "replace", replace)

    assert (refused.code, refused.out) == (2, "")
    assert "flowstone.prom: No space left on device" in refused.err
    assert seen[0][0] != ".prom"
    assert seen[0][1] == path.read_text() == "before"
    assert [found.name for found in path.parent.iterdir()] == ["flowstone.prom"]
    assert cli("metrics", "--textfile", str(path)).out == ""
    assert totals(path.read_text())["total", "success"] == 1
    assert [found.name for found in path.parent.iterdir()] == ["flowstone.prom"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "--openmetrics"], "four ways to show the same"),
        (["--serve", "127.0.0.1:0", "--textfile", "x.prom"], "four ways to show the same"),
        (["--insecure-no-auth"], "are about serving"),
        (["--token-file", "x"], "are about serving"),
        (["--serve", "0.0.0.0:0"], "can be reached from other machines"),
        (["--serve", "nonsense"], "HOST:PORT is needed"),
        (["--serve", "127.0.0.1:0", "--token-file", "gone"], "the token file gone cannot be read"),
        (["--textfile", "metrics.txt"], "is not read by the node exporter"),
        (["--textfile", "gone/metrics.prom"], "cannot write gone/metrics.prom: No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_refused(shop, cli, options, said):
    """Options that contradict each other, an open server without a token and places that are not there are refused."""
    refused = cli("metrics", *options)

    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert refused.err.count("\n") == 1 + ("\n  " in refused.err)


@pytest.fixture
def served(cli, capsys, monkeypatch):
    """A function that serves until its own function has asked what it wants, and returns what the verb and that said."""

    def serve(*options, ask):
        answers = []

        def wait():
            answers.append(ask(re.search(r"http://\S+", capsys.readouterr().err)[0]))
            raise KeyboardInterrupt

        monkeypatch.setattr(verb, "_wait", wait)
        return cli("metrics", "--serve", "127.0.0.1:0", *options), answers

    return serve


def get(url, **headers):
    """The status and body of a page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_serving_shows_the_deployment_and_itself(shop, cli, served):
    """The server shows what the verb prints, and the series of its own process; Ctrl-C ends it with code 0."""
    said, ((status, text),) = served(ask=get)
    (_, ((_, ready),)) = served(ask=lambda url: get(url.replace("/metrics", "/readyz")))

    assert (said.code, status) == (0, 200)
    assert totals(text) == totals(cli("metrics").out)
    assert "flowstone_process_runs 0.0\n" in text
    assert json.loads(ready)["ready"]


def test_the_token_is_the_files_or_the_settings(shop, cli, served, monkeypatch, tmp_path):
    """The token comes from a file, else from the secret that metrics.token names; who does not bring it is turned away."""
    (tmp_path / "token").write_text(TOKEN)

    def both(url):
        return get(url)[0], get(url, Authorization=f"Bearer {TOKEN}")[0]

    by_file = served("--token-file", str(tmp_path / "token"), ask=both)
    monkeypatch.setenv("FLOWSTONE_METRICS_TOKEN", "secret:SCRAPE_TOKEN")
    monkeypatch.setenv("SCRAPE_TOKEN", TOKEN)
    by_setting = served(ask=both)
    monkeypatch.delenv("SCRAPE_TOKEN")
    missing = cli("metrics", "--serve", "127.0.0.1:0")

    assert by_file[1] == by_setting[1] == [(401, 200)]
    assert missing.code == 2
    assert "the secret named SCRAPE_TOKEN" in missing.err


def test_a_token_in_the_settings_is_a_name(shop, cli, monkeypatch):
    """A token that is written out where its name belongs is refused, and not repeated."""
    monkeypatch.setenv("FLOWSTONE_METRICS_TOKEN", TOKEN)
    refused = cli("metrics")

    assert refused.code == 2
    assert "metrics.token must name a secret" in refused.err
    assert TOKEN not in refused.err


def test_a_run_serves_its_own_process(own, cli, capsys):
    """While a run works its process can be scraped: it has one run, and tells nothing of the deployment."""
    (own.folder / "pipeline.py").write_text(
        "import urllib.request\nfrom pathlib import Path\nfrom flowstone import Pipeline, asset\n"
        "@asset\ndef scraped(ctx):\n    return urllib.request.urlopen(Path('url').read_text()).read().decode()\n"
        "pipeline = Pipeline('shop', [scraped])\n"
    )
    (own.folder / "url").write_text("http://127.0.0.1:1/")
    assert cli("run", "scraped").code == 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowstone.cli.exporting.click.echo", lambda text, err: (own.folder / "url").write_text(text.split()[-1]))
        ran = cli("run", "scraped", "--metrics", "127.0.0.1:0", "--quiet")
    text = cli("get", "scraped").out

    assert ran.code == 0
    assert "flowstone_process_runs 1.0\n" in text
    assert "flowstone_run_total" not in text
    assert cli("run", "--metrics", "0.0.0.0:0").code == 2


def test_the_catalogue_gives_dashboard_and_alerts(shop, cli, tmp_path):
    """Dashboard, rules and their tests are printed or written to a file; a place that is not there is told."""
    assert json.loads(cli("catalogue", "dashboard").out) == dashboard()
    assert cli("catalogue", "alerts").out == rules_file()
    assert cli("catalogue", "alerts", "--tests", "-o", str(tmp_path / "tests.yml")).out == ""
    assert (tmp_path / "tests.yml").read_text() == rule_tests_file()
    assert cli("catalogue", "alerts", "-o", str(tmp_path / "gone" / "x")).code == 2
