"""schemathesis makes requests from the description that the server ships: none may bring a 5xx but the 501 that is
described, and no reply may be of another form than it says."""

import os
import subprocess
import sys
import pathlib
import tempfile

from serving import ServerTest


class OpenApi(ServerTest):
    options = ("--n-predict", "4", "--max-queue", "256", "--timeout", "20")

    def testNoRequestBreaksTheServer(self):
        program = pathlib.Path(sys.executable).parent / "schemathesis"
        command = [program, "run", self.server.url + "/openapi.json", "--checks",
                   "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                   "--max-examples", os.environ.get("LAPIDARY_SCHEMATHESIS", "25"), "--seed", "1", "--workers", "1",
                   "--phases", "examples,coverage,fuzzing", "--exclude-path", "/v1/embeddings",
                   "--generation-database", ":memory:"]
        # It keeps notes where it runs.
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        self.assertEqual(self.server.request("GET", "/health")[0], 200)
        self.assertEqual(self.server.metric("lapidary:requests_failed_total"), 0)
