"""Every wrong use ends in one line that says what is wrong, and exit status 2."""

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.cli import main

TOGETHER = "--forward-to, --forward-ca and --forward-account require each other"
FORWARDING = ("--forward-ca", "/etc/passwd", "--forward-account", "a/forward")


@pytest.fixture(autouse=True)
def _leave_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve"], "Missing option '--beanstalkd'"),
        (["serve", "--beanstalkd", "bean:99999"], "'99999' in 'bean:99999' isn't a port"),
        (["serve", "--beanstalkd", "a", "--beanstalkd", "a:1"], "are both named 'a'"),
        (["serve", "--beanstalkd", "a", "--port", "x"], "'x' is not a valid integer range"),
        (["serve", "--beanstalkd", "a", "--max-age", "15"], "'15' isn't a duration"),
        (["serve", "--beanstalkd", "a", "--kubeconfig", "/nope"], "File '/nope' does not exist"),
        *(
            ([*command, "--kubeconfig", "/etc/passwd"], "beanscale: can't use /etc/passwd as a kubeconfig")
            for command in (
                ["serve", "--beanstalkd", "a"],
                ["console", "--beanstalkd", "a"],
                ["smoke", "--beanstalkd", "a", "--service", "a/b"],
                ["explain", "tube-a"],
            )
        ),
        (["serve", "--beanstalkd", "a"], "there is no kubeconfig at"),
        (["serve", "--beanstalkd", "a", "--tls-secret", "x"], "--tls-secret requires --service"),
        (["serve", "--beanstalkd", "a", "--service", "x"], "isn't NAMESPACE/NAME"),
        (["serve", "--beanstalkd", "a", "--service", "a/b", "--cluster-domain", "ü"], "'ü' isn't a valid name"),
        (["serve", "--beanstalkd", "a", "--service", "a/b", "--tls-secret", "../x"], "'../x' isn't a valid name"),
        (["serve", "--beanstalkd", "a", "--tls-mode", "provided"], "--tls-mode=provided requires --tls-secret"),
        (["serve", "--beanstalkd", "a", "--tls-duration", "5s"], "--tls-duration must be at least 30s"),
        (["serve", "--beanstalkd", "a", "--tls-ca-duration", "1000h"], "must be at least three times --tls-duration"),
        (
            ["serve", "--beanstalkd", "a", "--tls-ca-duration", "999999999h"],
            "must be at most 876000h (a hundred years)",
        ),
        (["serve", "--beanstalkd", "a", "--forward-to", "keda/metrics"], TOGETHER),
        (
            ["serve", "--beanstalkd", "a", "--forward-to", "keda/metrics", "--forward-ca", "/etc/passwd"],
            TOGETHER,
        ),
        (["serve", "--beanstalkd", "a", "--forward-ca", "/etc/passwd"], TOGETHER),
        (["serve", "--beanstalkd", "a", "--forward-account", "a/b"], TOGETHER),
        (["serve", "--beanstalkd", "a", "--forward-to", "x"], "isn't NAMESPACE/SERVICE[:PORT]"),
        (["serve", "--beanstalkd", "a", "--forward-to", "a/b", "--forward-ca", "/nope"], "'/nope' does not exist"),
        (
            ["serve", "--beanstalkd", "a", "--service", "a/b", "--forward-to", "a/b:8", *FORWARDING],
            "--forward-to a/b is beanscale itself",
        ),
        (["serve", "--beanstalkd", "a", "--rules", "/nope"], "File '/nope' does not exist"),
        (["serve", "--beanstalkd", "a", "--rules", "/dev/null"], "there is no kubeconfig at"),
        (["serve", "--beanstalkd", "a", "--rules", "/etc/passwd"], "beanscale: /etc/passwd: "),
        (["serve", "--nope"], "No such option '--nope'"),
        (["nope"], "No such command 'nope'"),
        (["worker", "--beanstalkd", "a", "--tube", "-x"], "is not a valid tube name"),
        (["worker", "--beanstalkd", "a", "--tube", "x", "--bind", "1.2.3.4"], "can't listen on 1.2.3.4 port 8080"),
        (
            ["worker", "--beanstalkd", "a", "--tube", "x", "--bind", "here"],
            "can't listen on 'here': --bind takes an IP",
        ),
        (
            ["worker", "--beanstalkd", "a", "--tube", "x", "--bind", ""],
            "can't listen on '': --bind takes an IP address",
        ),
        (["smoke", "--beanstalkd", "a"], "Missing option '--service'"),
    ],
)
def test_a_usage_error_on_the_command_line_is_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("beanscale")
    assert said.err.count("\n") == 1
    assert complaint in said.err


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    path = tmp_path / "config"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    return str(path)


def test_an_unusable_ca_is_named(kubeconfig: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--kubeconfig", kubeconfig, "--forward-to", "a/b", *FORWARDING]
    assert main(["serve", "--beanstalkd", "a", *options]) == 2
    assert "the certificate-authority of --forward-ca /etc/passwd can't be used" in capsys.readouterr().err


def test_a_port_in_use_is_named(kubeconfig: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ["--kubeconfig", kubeconfig, "--bind", "127.0.0.1", "--port", port]
        assert main(["serve", "--beanstalkd", "a", *options]) == 2
    assert f"can't listen on 127.0.0.1 port {port}: address already in use" in capsys.readouterr().err


def test_an_invalid_rules_file_has_a_line_for_each_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("metrics: [{name: a, tubes: ['x\\ny', z], value: redy, servers: [ue]}]")
    assert main(["serve", "--beanstalkd", "eu=a", "--rules", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(': metrics[0] "a": ')[::2] for line in said] == [
        (
            f"beanscale: {file}",
            r"tubes[0]: 'x\\ny' is not a valid tube name: use 1 to 200 of the characters"
            " A-Z a-z 0-9 - + / ; . $ _ ( ), with no '-' at the start",
        ),
        (f"beanscale: {file}", "value: unknown field 'redy' at column 1; did you mean ready?"),
        (f"beanscale: {file}", 'servers[0]: there is no server "ue"; known: eu'),
    ]


def test_options_can_be_set_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEANSCALE_SERVE_BEANSTALKD", "eu=bean:99999")
    assert main(["serve"]) == 2
    assert "'99999' in 'eu=bean:99999' isn't a port" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "worker", "smoke"])
def test_each_command_has_a_help_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "--beanstalkd" in capsys.readouterr().out


def test_without_a_command_the_help_page_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert "serve" in said.out
    assert said.err == ""


def test_a_traceback_in_the_log_shows_no_values() -> None:
    for log_format in ("json", "text"):
        program = (
            f"import structlog; from app.logs import configure; configure('{log_format}', 'info')\n"
            "token = 'very' + 'secret'\ntry: 1 / 0\nexcept ZeroDivisionError: structlog.get_logger().exception('x')"
        )
        logged = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
        assert "ZeroDivisionError" in logged
        assert "verysecret" not in logged
