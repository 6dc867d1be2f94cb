# The daemon in a container, as a user without rights, who needs no more than the folder /state to write to.
#   build    docker build --tag instrument-daemon .
#   token    docker run --rm --volume instruments:/state instrument-daemon instruments token alice
#   run      docker run --detach --init --volume instruments:/state --publish 1340:1340 instrument-daemon
# What has to be added for instruments that are devices of the host, before the image's name:
#   serial   --device /dev/serial/by-id/usb-…:/dev/ttyUSB0; and if the host's dialout is not 20, --group-add NUMBER
#   USB      --volume /dev/bus/usb:/dev/bus/usb --device-cgroup-rule 'c 189:* rmw', so that one that was switched off is
#            found again; their group is the host's, see packaging/udev
#   GPIB     --device /dev/gpib0, in an image of your own, FROM this one, with linux-gpib's Python module
#   LAN      nothing; --network host if they are to be looked for by broadcast

# Where a Python with glibc and pip is; a registry of your own can have it under another name.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /build
# What it runs on changes seldom, so it comes first, by version and digest.
COPY requirements.lock ./
RUN python3 -m venv /usr/local/lib/instrument-daemon
RUN /usr/local/lib/instrument-daemon/bin/pip install --no-cache-dir --only-binary :all: --require-hashes --requirement requirements.lock
COPY . .
RUN /usr/local/lib/instrument-daemon/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation .

FROM ${PYTHON}
# For USB instruments. Everything else that pyvisa-py needs is a wheel.
RUN apt-get update && apt-get install --yes --no-install-recommends libusb-1.0-0 && rm -rf /var/lib/apt/lists/*
# A user of its own; dialout owns serial lines. /state is the daemon's folder, with logs, tokens and lock files, wherever
# it is looked for: by the daemon, `instruments token` and `instruments log`.
RUN useradd --uid 1340 --user-group --groups dialout --home-dir /state --shell /usr/sbin/nologin instrument-daemon \
    && install --directory --owner instrument-daemon --group instrument-daemon --mode 0700 /state \
    && ln --symbolic /state /var/lib/pyvisa-daemon
COPY --from=build /usr/local/lib/instrument-daemon /usr/local/lib/instrument-daemon
ENV PATH=/usr/local/lib/instrument-daemon/bin:$PATH XDG_STATE_HOME=/var/lib
USER instrument-daemon
WORKDIR /state
VOLUME /state
EXPOSE 1340
# SIGTERM ends it within 10 s, in order.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["instruments", "--host", "127.0.0.1", "status"]
# To a daemon in a container every client is a stranger: without a token, or `--allow`, it does not start.
CMD ["instrument-daemon", "--host", "0.0.0.0"]
