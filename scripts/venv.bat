@echo off
rem Called by start.bat and test.bat in the project's directory, with the requirements file: finds a
rem Python, creates the environment with bootstrap.py, and sets VENV_PYTHON to its interpreter.

if not defined VENV_DIR set "VENV_DIR=.venv"
set "VENV_PYTHON=%VENV_DIR%\Scripts\python.exe"
set "FOUND_PYTHON="

rem "import pip" fails in an incomplete environment.
if exist "%VENV_PYTHON%" call :try pip "%VENV_PYTHON%"
for %%V in (3.13 3.12 3.11) do call :try venv py -%%V
call :try venv python
call :try venv py -3

if not defined FOUND_PYTHON (
    echo error: Python 3.11 or newer is required; py and python are missing or older; see https://www.python.org/downloads/ 1>&2
    exit /b 1
)
%FOUND_PYTHON% scripts\bootstrap.py "%~1" --venv "%VENV_DIR%"
exit /b %ERRORLEVEL%

:try
rem The first word is a module that it must have. The rest is the command.
if defined FOUND_PYTHON exit /b 0
if "%~3"=="" (set TRIED=%2) else (set TRIED=%2 %3)
%TRIED% -c "import %1, sys; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if not errorlevel 1 set FOUND_PYTHON=%TRIED%
exit /b 0
