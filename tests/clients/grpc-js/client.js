// A gRPC client by @grpc/grpc-js-xds, as shipped, for tests.
//
//   GRPC_XDS_BOOTSTRAP=FILE GRPC_JS_DIR=.tools/grpc-js node client.js PORT
//
// GET /?target=xds:///HOST:PORT&calls=N on 127.0.0.1:PORT makes N calls, one after
// the other, on the channel of that target, and answers with a JSON list of what
// came: the name that an echo backend answered with, else the status code's name.
'use strict';

const http = require('http');
const path = require('path');

const modules = path.join(process.env.GRPC_JS_DIR, 'node_modules');
const grpc = require(path.join(modules, '@grpc/grpc-js'));
require(path.join(modules, '@grpc/grpc-js-xds')).register();

const DEADLINE_MS = 5000;
const clients = new Map();
const bytes = (value) => value;

function client(target) {
  if (!clients.has(target)) {
    clients.set(target, new grpc.Client(target, grpc.credentials.createInsecure()));
  }
  return clients.get(target);
}

function call(target) {
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    client(target).makeUnaryRequest(
      '/mainstem.test.Echo/Name', bytes, bytes, Buffer.alloc(0), new grpc.Metadata(), options,
      (error, answer) =>
        resolve(error ? `${grpc.status[error.code]}: ${error.details}` : answer.toString()));
  });
}

http.createServer(async (request, response) => {
  const query = new URL(request.url, 'http://localhost').searchParams;
  const answers = [];
  for (let n = 0; n < Number(query.get('calls')); n++) {
    answers.push(await call(query.get('target')));
  }
  response.end(JSON.stringify(answers));
}).listen(Number(process.argv[2]), '127.0.0.1');
