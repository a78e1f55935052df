// One page, with Node.js alone: put your application in its place.
const http = require("http");

http
  .createServer((request, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end("<p>It is deployed. This page is made by app.js.</p>\n");
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
