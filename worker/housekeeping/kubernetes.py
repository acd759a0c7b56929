"""The one thing that we ask of Kubernetes, at the wire: annotations of pods in our own namespace.

With the ServiceAccount's token, certificate authority and namespace as every pod has them. The token is read anew for
each round: the kubelet replaces it every hour. No client library: one PATCH is all.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote

import httpx2

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 5.0
RETRIES_ON_CONFLICT = 2


class KubernetesAway(Exception):
    """The API server did not answer, or not with what was asked; the message says why, and holds no token."""


class PodRefused(Exception):
    """The API server is there, and does not do it for this pod. `is_unknown`: there is no such pod."""

    def __init__(self, pod: str, status: int) -> None:
        super().__init__(f"{pod}: status {status}")
        self.is_unknown = status == 404


class Kubernetes:
    """The API server at `url`. Raises `KubernetesAway` when the account's files cannot be read."""

    def __init__(self, url: str, account: Path | None = None) -> None:
        account = account or ACCOUNT
        self._account = account
        try:
            self._namespace = (account / "namespace").read_text().strip()
            trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except (OSError, ssl.SSLError) as error:
            raise KubernetesAway(f"cannot use {account}: {type(error).__name__}") from None
        # the API server is no address of the environment's proxy
        self._http = httpx2.AsyncClient(base_url=url, verify=trusted, timeout=TIMEOUT_S, trust_env=False)

    @classmethod
    def of_this_pod(cls) -> Self:
        """The cluster that this process runs in. Raises `KubernetesAway` outside of one."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise KubernetesAway("KUBERNETES_SERVICE_HOST is not set: this is no pod")
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")

    async def annotate(self, pod: str, annotations: Mapping[str, str]) -> None:
        """Set these annotations and leave the others. Raises `PodRefused`, `KubernetesAway`."""
        path = f"/api/v1/namespaces/{quote(self._namespace, safe='')}/pods/{quote(pod, safe='')}"
        for attempt in range(1 + RETRIES_ON_CONFLICT):
            answer = await self._patch(path, {"metadata": {"annotations": dict(annotations)}})
            if answer.is_success:
                return
            if answer.status_code == 409 and attempt < RETRIES_ON_CONFLICT:
                continue
            if answer.is_client_error and answer.status_code not in _OF_ALL_PODS:
                raise PodRefused(pod, answer.status_code)
            raise KubernetesAway(f"status {answer.status_code}{_OF_ALL_PODS.get(answer.status_code, '')}")

    async def _patch(self, path: str, change: Mapping[str, object]) -> httpx2.Response:
        headers = {"Content-Type": "application/merge-patch+json"}
        try:
            headers["Authorization"] = f"Bearer {(self._account / 'token').read_text().strip()}"
            return await self._http.patch(path, json=change, headers=headers)
        except (OSError, httpx2.HTTPError) as error:
            raise KubernetesAway(type(error).__name__) from None

    async def close(self) -> None:
        """Give sockets back."""
        await self._http.aclose()


_OF_ALL_PODS = {
    401: ": the token is not accepted",
    403: ": the ServiceAccount may not patch pods (deploy/k8s gives it a Role)",
    429: ": too many requests",
}
