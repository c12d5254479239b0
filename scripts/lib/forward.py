"""Listen on this machine's loopback, connect inside the cluster's network: forward.py NAMESPACE_FILE PORT ADDRESS:PORT.

A socket stays in the network namespace that it was made in, so one process can stand on both sides.
"""

import asyncio
import os
import socket
import sys

CHUNK_BYTES = 65536


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:  # either side may leave at any time; the other one is told by the close
        writer.close()


async def forward(listener: socket.socket, address: str, port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            their_reader, their_writer = await asyncio.open_connection(address, port)
        except OSError as error:
            print(f"cannot reach {address}:{port} in the cluster: {error}", flush=True)
            writer.close()
            return
        await asyncio.gather(copy(reader, their_writer), copy(their_reader, writer))
        their_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, sock=listener)
    print("listening", flush=True)
    await server.serve_forever()


def main(namespace: str, listen_port: str, target: str) -> None:
    listener = socket.create_server(("127.0.0.1", int(listen_port)))
    with open(namespace, "rb") as file:  # noqa: PTH123 - a descriptor is what setns takes
        os.setns(file.fileno(), os.CLONE_NEWNET)
    address, _, port = target.rpartition(":")
    asyncio.run(forward(listener, address, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
