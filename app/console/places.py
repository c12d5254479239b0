"""Which beanstalkd a page means, as an address to connect to."""

from dataclasses import replace

from app.beanstalkd.addresses import as_label, look_up
from app.beanstalkd.reading import ServerState
from app.beanstalkd.retry import because_unresolved
from app.jobs.client import BeanstalkdError
from app.settings import Server


def reached(state: ServerState) -> Server:
    """The server itself; where its name has several addresses, the one that is meant. Blocking: asks DNS then.

    Raises BeanstalkdError.
    """
    server = state.server
    if state.member is None:
        return server
    try:
        addresses = look_up(server.host, server.port)
    except OSError as error:
        raise BeanstalkdError(f"beanstalkd {server.address}: {because_unresolved(error)}") from error
    for address in addresses:
        if as_label(address) == state.member:
            return replace(server, host=address)
    raise BeanstalkdError(f"beanstalkd {server.address}: its name doesn't lead to {state.member} any more")
