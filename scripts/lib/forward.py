"""Forward a loopback port of this machine into the cluster's network: forward.py NAMESPACE_FILE PORT ADDRESS:PORT.

A socket stays in the network namespace in which it was created, so one process can use both.
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
    except OSError:  # one side closed the connection; close the other one
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
    with open(namespace, "rb") as file:  # noqa: PTH123 - setns needs a descriptor
        os.setns(file.fileno(), os.CLONE_NEWNET)
    address, _, port = target.rpartition(":")
    asyncio.run(forward(listener, address, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
