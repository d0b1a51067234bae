"""The local page of `avsr serve`: clips from a browser in, transcripts and figures out.

Data: HTTP request -> guard -> upload -> line of jobs, one worker -> recogniser -> JSON, PNG, SVG.

    from avsr import load_model
    from avsr.serve.app import make_app
    app = make_app(load_model())  # for any ASGI server; `avsr serve` runs it under uvicorn

Why starlette, uvicorn and python-multipart rather than Gradio, which demos of models use:

- nothing leaves the machine: unless told otherwise Gradio counts its users, and its pages load
  fonts and scripts of other servers; this page is one file that works without a network;
- how an upload is read and where it is cut off, whose requests are answered (hosts, origins), how
  long a clip is kept and who waits for whom are this package's to say and to test;
- it loads in a moment: three small packages of pure Python rather than a tree of them.

The packages come with the extra `serve`; only `avsr.serve.app` and what it imports need them.
"""
