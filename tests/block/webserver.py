"""webserver.py - web servers for tests of images over HTTP: a good one, and some that are not."""
import base64
import http.server
import os
import re
import threading


class Web:
    """Serves a folder on loopback. `fault`: None, or what is wrong with it; `asked`: (path, range) of each GET."""

    def __init__(self, folder, user=None):
        web = self
        self.fault, self.asked = None, []
        want = 'Basic ' + base64.b64encode(user.encode()).decode() if user else None

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def plain(self, code, *headers):
                self.send_response(code)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header('Content-Length', '0')
                self.end_headers()

            def answer(self, body):
                if want and self.headers.get('Authorization') != want:
                    return self.plain(401, ('WWW-Authenticate', 'Basic realm="images"'))
                if self.path.startswith('/moved/'):
                    return self.plain(302, ('Location', self.path[len('/moved'):]))
                path = folder + self.path
                if not os.path.isfile(path):
                    return self.plain(404)
                size, part = os.path.getsize(path), re.match(r'bytes=(\d+)-(\d+)$', self.headers.get('Range', ''))
                first, last = (int(part[1]), min(int(part[2]), size - 1)) if part and web.fault != 'ignores' else (0, size - 1)
                self.send_response(206 if part and web.fault != 'ignores' else 200)
                if web.fault != 'no ranges':
                    self.send_header('ACCEPT-RANGES', 'bytes')
                if web.fault != 'no length':
                    self.send_header('Content-Length', str(last + 1 - first))
                if part:
                    self.send_header('Content-Range', f'bytes {first}-{last}/{size}')
                self.end_headers()
                if body:
                    self.send(path, first, last)

            def send(self, path, first, last):
                web.asked.append((self.path, first, last + 1 - first))
                with open(path, 'rb') as f:
                    f.seek(first)
                    data = f.read(last + 1 - first)
                if web.fault == 'breaks off':
                    data = data[:len(data) // 2]
                    self.close_connection = True
                self.wfile.write(data)

            def do_HEAD(self):
                self.answer(False)

            def do_GET(self):
                try:
                    self.answer(True)
                except OSError:  # the client has had enough
                    self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
