//! The few things the runner must know of template.yaml, and the one thing it changes in it.
//!
//! `sam build` replaces every `CodeUri` by what it built; here each `CodeUri` becomes the S3 address of a package that
//! the runner made. The template is read line by line rather than parsed: it is one of our own files, in block style
//! with two spaces of indentation, and what does not look like that is refused instead of guessed at.

use crate::error::{Problem, Result};

/// A Lambda function of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Logical id, for example `FilesCreateFunction`.
    pub logical_id: String,
    /// Name of its binary, for example `files-create`.
    pub binary: String,
}

/// The names of the parameters that the template declares.
pub(crate) fn parameters(template: &str) -> Vec<String> {
    section(template, "Parameters").filter_map(|(_, line)| key_at(line, 2)).map(str::to_owned).collect()
}

/// The functions of the template with their binaries, in its order.
pub(crate) fn functions(template: &str) -> Result<Vec<Function>> {
    resources(template)
        .into_iter()
        .filter(|resource| resource.is_function)
        .map(|resource| {
            let binary = resource.binary.ok_or_else(|| {
                Problem::new(format!(
                    "{} in template.yaml has no BuildProperties with a Binary",
                    resource.logical_id
                ))
            })?;
            Ok(Function { logical_id: resource.logical_id.to_owned(), binary: binary.to_owned() })
        })
        .collect()
}

/// The template with the `CodeUri` of every function replaced by what `address` gives for its binary.
pub(crate) fn with_packages(template: &str, address: impl Fn(&str) -> Result<String>) -> Result<String> {
    let mut lines: Vec<String> = template.lines().map(str::to_owned).collect();
    let mut insertions = Vec::new();
    for resource in resources(template).into_iter().filter(|resource| resource.is_function) {
        let Some(binary) = resource.binary else { continue };
        let code = format!("      CodeUri: {}", address(binary)?);
        match (resource.code_line, resource.properties_line) {
            (Some(at), _) => {
                if let Some(line) = lines.get_mut(at) {
                    *line = code;
                }
            }
            (None, Some(at)) => insertions.push((at + 1, code)),
            (None, None) => {
                return Err(Problem::new(format!(
                    "{} in template.yaml has no Properties",
                    resource.logical_id
                )));
            }
        }
    }
    // From the end, so that earlier places stay where they are.
    for (at, code) in insertions.into_iter().rev() {
        lines.insert(at.min(lines.len()), code);
    }
    Ok(lines.join("\n") + "\n")
}

#[derive(Debug)]
struct Resource<'a> {
    logical_id: &'a str,
    is_function: bool,
    binary: Option<&'a str>,
    code_line: Option<usize>,
    properties_line: Option<usize>,
}

fn resources(template: &str) -> Vec<Resource<'_>> {
    let mut found: Vec<Resource<'_>> = Vec::new();
    for (number, line) in section(template, "Resources") {
        if let Some(logical_id) = key_at(line, 2) {
            found.push(Resource {
                logical_id,
                is_function: false,
                binary: None,
                code_line: None,
                properties_line: None,
            });
            continue;
        }
        let Some(resource) = found.last_mut() else { continue };
        let trimmed = line.trim();
        if key_at(line, 4) == Some("Type") {
            resource.is_function = trimmed.ends_with("AWS::Serverless::Function");
        } else if key_at(line, 4) == Some("Properties") {
            resource.properties_line = Some(number);
        } else if key_at(line, 6) == Some("CodeUri") {
            resource.code_line = Some(number);
        } else if let Some(binary) = trimmed.strip_prefix("Binary:") {
            resource.binary = Some(binary.trim().trim_matches(['"', '\'']));
        }
    }
    found
}

/// The lines of a top-level section with their numbers, without comments and empty lines.
fn section<'a>(template: &'a str, name: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let heading = format!("{name}:");
    template
        .lines()
        .enumerate()
        .skip_while(move |(_, line)| line.trim_end() != heading)
        .skip(1)
        .take_while(|(_, line)| line.is_empty() || line.starts_with([' ', '#']))
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

/// The key of a `key:` line that begins at exactly this column.
fn key_at(line: &str, column: usize) -> Option<&str> {
    let rest = line.strip_prefix(&" ".repeat(column)[..])?;
    if rest.starts_with([' ', '-', '#']) {
        return None;
    }
    rest.split_once(':').map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "\
AWSTemplateFormatVersion: '2010-09-09'
Parameters:
  # the stage
  Stage:
    Type: String
  MailFrom:
    Type: String
Globals:
  Function:
    Runtime: provided.al2023
Resources:
  Bucket:
    Type: AWS::S3::Bucket
  FilesListFunction:
    Type: AWS::Serverless::Function
    Metadata:
      BuildMethod: rust-cargolambda
      BuildProperties:
        Binary: files-list
    Properties:
      CodeUri: .
      Handler: bootstrap
  FilesGetFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: bootstrap
    Metadata:
      BuildProperties:
        Binary: \"files-get\"
Outputs:
  Url:
    Value: x
";

    #[test]
    fn parameters_and_functions_are_found() {
        assert_eq!(parameters(TEMPLATE), ["Stage", "MailFrom"]);
        let functions = functions(TEMPLATE).unwrap();
        let pairs: Vec<_> = functions.iter().map(|f| (f.logical_id.as_str(), f.binary.as_str())).collect();
        assert_eq!(pairs, [("FilesListFunction", "files-list"), ("FilesGetFunction", "files-get")]);
    }

    #[test]
    fn packages_replace_or_add_the_code_address() {
        let text = with_packages(TEMPLATE, |binary| Ok(format!("s3://b/{binary}.zip"))).unwrap();
        assert!(
            text.contains("    Properties:\n      CodeUri: s3://b/files-list.zip\n      Handler"),
            "{text}"
        );
        assert!(
            text.contains("    Properties:\n      CodeUri: s3://b/files-get.zip\n      Handler"),
            "{text}"
        );
        assert!(!text.contains("CodeUri: .\n"));
        assert!(text.ends_with("Outputs:\n  Url:\n    Value: x\n"));
    }

    #[test]
    fn a_function_without_a_binary_is_refused() {
        let template = TEMPLATE.replace("        Binary: files-list\n", "");
        assert!(functions(&template).unwrap_err().to_string().contains("FilesListFunction"));
    }
}
