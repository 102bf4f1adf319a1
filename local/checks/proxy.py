"""Who counts as a client behind nginx: local/checks/proxy runs this with the API's address, a folder, and nginx."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]
API, FOLDER, NGINX = sys.argv[1], Path(sys.argv[2]) / "nginx", sys.argv[3]
PASSWORD = "opal-lantern-42"
# Addresses of this machine, each a client of its own.
STRANGER, ANN, BOB = "127.0.0.66", "127.0.0.2", "127.0.0.3"

CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen unix:{folder}/ready;
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


def main():
    port = start_nginx()
    api = int(API.rsplit(":", 1)[1])

    for name in ("ann", "bob"):
        account = {"email": f"{name}@example.com", "password": PASSWORD}
        status, _ = ask(port, "POST", "/users", ANN, json=account)
        assert status == 201, status

    # What a client writes itself changes nothing, on any way that it can be written.
    for number in range(100):
        forged = {
            "X-Forwarded-For": f"{ANN}, 203.0.113.{number}",
            "Forwarded": f"for={BOB};proto=https, for=203.0.113.{number}",
            "X-Real-IP": ANN,
        }
        status, _ = log_in(port, "ann", STRANGER, "wrong-lantern-42", forged)
        assert status == (401 if number < 10 else 429), (number, status)
    # Another account, until the source as a whole has failed too often.
    statuses = [log_in(port, f"nobody{n}", STRANGER, "wrong-lantern-42", {"X-Forwarded-For": BOB})[0] for n in range(100)]
    assert statuses[-1] == 429 and statuses[0] == 401, statuses

    # Nobody else notices, and each session is its client's.
    for name, client in (("ann", ANN), ("bob", BOB)):
        status, pair = log_in(port, name, client, PASSWORD, {"X-Forwarded-For": STRANGER})
        assert status == 200, (name, status)
        _, sessions = ask(port, "GET", "/auth/sessions", client, {"Authorization": f"Bearer {pair['access_token']}"})
        assert [session["source"] for session in sessions] == [client], sessions

    # Without nginx in between nobody is believed.
    status, pair = log_in(api, "bob", BOB, PASSWORD, {"X-Forwarded-For": "203.0.113.9"})
    assert status == 200, status
    _, sessions = ask(api, "GET", "/auth/sessions", BOB, {"Authorization": f"Bearer {pair['access_token']}"})
    assert [session["source"] for session in sessions] == [BOB, BOB], sessions
    print("100 and 100 failed logins of a stranger stayed the stranger's.")


def start_nginx():
    """Starts it with the README's configuration, and returns its port."""
    readme = (ROOT / "README.md").read_text()
    [location] = re.findall(r"```nginx\n(.*?)```", readme, re.DOTALL)
    assert "http://127.0.0.1:8000" in location, location
    location = location.replace("http://127.0.0.1:8000", API)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "ready").unlink(missing_ok=True)
    port = free_port()
    (FOLDER / "nginx.conf").write_text(CONFIG.format(folder=FOLDER, port=port, location=location))
    global running
    running = subprocess.Popen([NGINX, "-p", FOLDER, "-c", FOLDER / "nginx.conf", "-e", FOLDER / "error.log"])
    for _ in range(100):
        if (FOLDER / "ready").exists() and running.poll() is None:
            return port
        time.sleep(0.05)
    sys.exit(f"nginx does not start: {(FOLDER / 'error.log').read_text()}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def log_in(port, name, client, password, headers=None):
    form = urlencode({"username": f"{name}@example.com", "password": password})
    headers = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return ask(port, "POST", "/auth/login", client, headers, form)


def ask(port, method, path, client, headers=None, body=None, **document):
    """Sends a request from an address of this machine."""
    headers = dict(headers or {})
    if document:
        body, headers["Content-Type"] = json.dumps(document["json"]), "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(client, 0))
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)


running = None
try:
    main()
finally:
    if running:
        running.terminate()
        running.wait(10)
