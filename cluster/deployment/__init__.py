"""A database on a cluster: files for `ray up` and Kubernetes, an image, and what they run on each node.

    Containerfile           one image for heads, owners and gateways
    ray_up/                 clusters for `ray up`: AWS, and machines of one's own
    serve.yaml              the gateway, for `serve deploy`
    kubernetes/             the same for KubeRay, for `kubectl apply -k`

`docs/deployment.md` says how to use them.
"""
