"""Who may do what: roles, the rights that a client has, and those that its address gives it.

Pure. Runs in the front. Rights are asked for by a resource's canonical name; None stands for the daemon itself. Where
several patterns fit a resource the lowest role counts, so that what is kept from somebody stays kept.

    Role        what one may do
    Rights      one client's roles
    ByAddress   who a connection is before it has shown a token

To have a command ask for another role: its row in `text_commands`, or in `wire_conversation`'s ROLES.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from front_proc.configuration.resource_names import spellings
from front_proc.configuration.setting_values import WrongValueError

Network = IPv4Network | IPv6Network


class Role(IntEnum):
    """What one may do; who has a role may do what those below it may."""

    NONE = 0
    OBSERVE = 1  # see what there is, and how it is
    USE = 2  # open, query, write, lock; abort a command
    ADMIN = 3  # reset, restart; end or drain the daemon

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, word: object) -> "Role":
        """The role of that name in lower case. Raises ValueError."""
        for role in cls:
            if role.word == word:
                return role
        raise ValueError(f"{word!r} is no role")


@dataclass(frozen=True)
class Rights:
    """What one client may do. `user` is its token's name, empty without one."""

    user: str = ""
    #: On the daemon, and on every resource that none of the patterns fits.
    role: Role = Role.NONE
    #: What fits one of a name's `spellings`, and the most that one may do there.
    resources: tuple[tuple[re.Pattern[str], Role], ...] = ()

    def role_on(self, resource: str | None) -> Role:
        """The role on a resource by its canonical name, or on the daemon."""
        if resource is None or not self.resources:
            return self.role
        names = spellings(resource)
        return min((role for fit, role in self.resources if any(map(fit.fullmatch, names))), default=self.role)

    @cached_property
    def highest(self) -> Role:
        """The most that it may do anywhere."""
        return max(self.role, *(role for _, role in self.resources)) if self.resources else self.role

    @property
    def is_unlimited(self) -> bool:
        return self.role is Role.ADMIN and not self.resources

    def sees(self, resource: str) -> bool:
        """May it know of that resource?"""
        return self.role_on(resource) >= Role.OBSERVE

    def suffices(self, role: Role, resource: str | None) -> bool:
        """Is it enough for a command that takes `role` there? One that names no resource is for those that are open,
        or for nobody in particular: a role anywhere is enough, for opening has its own gate. But not for an admin's."""
        if resource is None and role < Role.ADMIN:
            return self.highest >= role
        return self.role_on(resource) >= role


#: Of a connection that has shown nothing, by its address.
NOTHING = Rights()
ALLOWED = Rights(role=Role.USE)
EVERYTHING = Rights(role=Role.ADMIN)


class Loopback(StrEnum):
    """Who a process of the daemon's own machine is without a token."""

    ADMIN = "admin"
    TOKEN = "token"  # noqa: S105 - nobody, until it shows one


@dataclass(frozen=True)
class ByAddress:
    """Who a connection is before it has shown anything."""

    loopback: Loopback = Loopback.ADMIN
    allow: tuple[Network, ...] = ()

    def rights_at(self, host: str) -> Rights:
        """`host` is an IP address as the kernel gives it."""
        address = numeric(host)
        if address.is_loopback and self.loopback is Loopback.ADMIN:
            return EVERYTHING
        return ALLOWED if any(address in network for network in self.allow) else NOTHING


def numeric(host: str) -> IPv4Address | IPv6Address:
    """An address without its zone; an IPv4 address that is written as an IPv6 one is an IPv4 address."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def role_names(least: Role = Role.NONE) -> str:
    """The roles from `least` on, in words."""
    return ", ".join(role.word for role in Role if role >= least)


# What the settings accept.


def loopback(value: Any) -> Loopback:
    if not isinstance(value, str):
        raise ValueError
    return Loopback(value)


def networks(value: Any) -> tuple[Network, ...]:
    """A list, or one text with commas."""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(entry, str) for entry in given):
        raise ValueError
    try:
        return tuple(ip_network(entry.strip()) for entry in given)
    except ValueError as error:
        raise WrongValueError(str(error)) from error
