"""The catalog's app: the list of pages, and one sentence instead of a traceback where a page cannot be shown.

Start it with `make app`, or `streamlit run app.py` in the project's root.
"""

from pathlib import Path

import duckdb
import streamlit as st

from app_lib import data, limited_sql, ui
from catalog.base.errors import CatalogError

LOGO = Path(__file__).resolve().parent / "docs" / "images" / "logo.svg"

st.set_page_config(page_title="Paper catalog", page_icon=str(LOGO), layout="wide")
st.logo(str(LOGO), size="large")
page = st.navigation(
    [
        st.Page("app_pages/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("app_pages/system.py", title="System", icon=":material/description:", url_path="system"),
        st.Page("app_pages/compare.py", title="Compare", icon=":material/leaderboard:", url_path="compare"),
        st.Page("app_pages/where.py", title="Where it looks", icon=":material/center_focus_strong:", url_path="where"),
        st.Page("app_pages/datasets.py", title="Data sets", icon=":material/database:", url_path="datasets"),
        st.Page("app_pages/models.py", title="Models", icon=":material/neurology:", url_path="models"),
        st.Page("app_pages/pipeline.py", title="Pipeline", icon=":material/account_tree:", url_path="pipeline"),
        st.Page("app_pages/sql.py", title="SQL", icon=":material/terminal:", url_path="sql"),
    ],
    position="top",
)
try:
    data.version()
except CatalogError as error:
    st.title("Paper catalog", anchor=False)
    st.warning(ui.message(error), icon=":material/info:")
    st.stop()
limited_sql.warm()
try:
    old = data.outdated()
    if old:
        st.warning(ui.message(old), icon=":material/update:")
    page.run()
except CatalogError as error:
    st.warning(ui.message(error), icon=":material/info:")
except duckdb.Error as error:
    cause = ui.esc(limited_sql.one_line(error))
    st.warning(f"The catalog could not be read ({cause}): build it again with `{data.BUILD_COMMAND}`.")
