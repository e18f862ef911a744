"""What a server imports until it serves. It is imported in the process that servers of tests are forked from."""

import httptools as httptools
import uvicorn.lifespan.on as lifespan
import uvicorn.protocols.http.httptools_impl as http

import server.commands.serving as serving
import server.serve as serve
import server.workers_alone as workers_alone

__all__ = [
    "http",
    "httptools",
    "lifespan",
    "serve",
    "serving",
    "workers_alone",
]
