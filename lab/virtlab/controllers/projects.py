"""OpenShift's projects: each namespace once more, under another name."""

from __future__ import annotations

from virtlab.controllers.runtime import Controller, Key

PROJECTS = "projects.project.openshift.io"


class ProjectController(Controller):
    """Keeps a project for each namespace. OpenShift makes them up when asked; what clients see is the same."""

    manager_name = "openshift-apiserver"
    watches = ("namespaces",)

    def reconcile(self, key: Key) -> float | None:
        name = key[1]
        namespace = self.find("namespaces", None, name)
        if namespace is None:
            self.delete(PROJECTS, None, name)
            return None
        status = {"phase": namespace.get("status", {}).get("phase", "Active")}
        project = self.find(PROJECTS, None, name)
        if project is None:
            metadata = {"name": name, "labels": namespace["metadata"].get("labels", {})}
            body = {"apiVersion": "project.openshift.io/v1", "kind": "Project", "metadata": metadata}
            self.create(PROJECTS, {**body, "spec": {"finalizers": ["kubernetes"]}, "status": status})
        else:
            self.write_status(PROJECTS, project, status)
        return None
